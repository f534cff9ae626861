"""A review in a database, made by hand, and what people do with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete

from facetry.review.answers import Answer, Stream
from facetry.review.store.decisions import By, Decisions
from facetry.review.store.queue import Asked, ProductQueue
from facetry.review.store.records import CELLS, Review, Task
from facetry.review.store.reviews import SHARES, ReviewStore
from facetry.service.database import Clock, Database
from facetry.service.tables import REVIEW_CELLS

REVIEW = Review(
    id="r",
    name="shop",
    catalogue="shop",
    model="model",
    model_version="1",
    precision=None,
    is_ready=True,
)


class SetClock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def product(row: int, **changes: object) -> dict[str, object]:
    """A product's row."""
    return {
        "review": "r",
        "row": row,
        "product_id": f"P{row}",
        "category": "Sarees",
        "title": None,
        "photos": json.dumps([f"{row}.jpg"]),
        "problem": "",
        "is_flagged": False,
        **changes,
    }


def cell(row: int, head: int = 0, **changes: object) -> dict[str, object]:
    """A cell's row; those of the first rows come first."""
    return {
        "review": "r",
        "row": row,
        "head": head,
        "known": None,
        "predicted": "red",
        "confidence": 0.6,
        "action": "review",
        "alternatives": '["red", "blue"]',
        "stream": "useful",
        "priority": float(-row),
        "num_wanted": 1,
        "num_decided": 0,
        "is_open": True,
        "is_disputed": False,
        "value": None,
        "source": "none",
        **changes,
    }


def say(row: int, value: str = "red", *, key: str = "", head: int | None = 0) -> Answer:
    """An answer that is a value."""
    return Answer(key=key or f"{row}-{head}-{value}", row=row, head=head, kind="value", value=value)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The stores of one database with the review `REVIEW`."""

    reviews: ReviewStore
    queue: ProductQueue
    decisions: Decisions

    @classmethod
    def of(cls, database: Database, clock: Clock) -> "Stored":
        """With a review that has no products yet."""
        found = cls(
            reviews=ReviewStore(database, clock),
            queue=ProductQueue(database, clock),
            decisions=Decisions(database, clock),
        )
        found.reviews.create(REVIEW)
        return found

    def add(self, rows: Sequence[int], **changes: object) -> None:
        """Add products with one cell each."""
        self.reviews.add([product(row) for row in rows], [cell(row, **changes) for row in rows])

    def remove(self, row: int) -> None:
        """Take the cells of a product away, as a run does whose table has the product no longer."""
        with self.reviews.database.transaction() as connection:
            connection.execute(delete(REVIEW_CELLS).where(CELLS.row == row))

    def take(
        self,
        person: str,
        num_wanted: int = 1,
        *,
        may_rule: bool = False,
        shares: Mapping[Stream, float] = SHARES,
    ) -> list[Task]:
        """The next products for a person."""
        asked = Asked(person=person, may_rule=may_rule)
        return self.queue.take(REVIEW, asked, shares, num_wanted)

    def answer(self, person: str, *answers: Answer, may_rule: bool = False) -> int:
        """Store what a person says."""
        return self.decisions.answer(REVIEW, By(person=person, may_rule=may_rule), answers)

    def undo(self, person: str) -> int | None:
        """Take back what a person said last."""
        return self.decisions.undo(REVIEW, person)

    def task(self, row: int) -> Task:
        """A product with its cells."""
        return self.queue.task(REVIEW, row, Asked(person="nobody"))

    @property
    def num_decided(self) -> int:
        """How many cells are decided."""
        return self.reviews.progress(REVIEW).num_decided
