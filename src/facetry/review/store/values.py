"""Values that people proposed because a head lacks them, and what admins say of them."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from facetry.review.store.decisions import settle
from facetry.review.store.records import CELLS, EVENTS, VALUES, Review
from facetry.service.database import Clock, Database
from facetry.service.tables import REVIEW_EVENTS, REVIEW_VALUES

Verdict = Literal["added", "replaced", "refused"]
"""The head has it from now on; it means another value; it is none: its cells are asked about again."""

_NUM_SAMPLES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """A value that waits for an admin, with how many cells it stands in and the rows of some."""

    head: int
    value: str
    num_cells: int
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What an admin says of a proposed value; `replacement` is the value that it means."""

    head: int
    value: str
    verdict: Verdict
    replacement: str | None = None


class ValueStore:
    """The proposed values in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def waiting(self, review: Review) -> list[Proposed]:
        """The values that no admin has said anything of, by head, those of most cells first."""
        count = func.count().label("num")
        query = (
            select(CELLS.head, CELLS.proposed, count)
            .where(CELLS.review == review.id, CELLS.proposed.is_not(None))
            .group_by(CELLS.head, CELLS.proposed)
            .order_by(CELLS.head, count.desc(), CELLS.proposed)
        )
        with self._database.reading() as connection:
            return [
                Proposed(
                    head=head,
                    value=value,
                    num_cells=num,
                    rows=_samples(connection, review, head, value),
                )
                for head, value, num in connection.execute(query).all()
            ]

    def num_waiting(self, review: Review) -> int:
        """How many values wait."""
        each = select(CELLS.head, CELLS.proposed).where(
            CELLS.review == review.id, CELLS.proposed.is_not(None)
        )
        with self._database.reading() as connection:
            query = select(func.count()).select_from(each.distinct().subquery())
            return connection.execute(query).scalar_one()

    def ruling(self, review: Review, head: int, value: str) -> Ruling | None:
        """What an admin has said of a value."""
        with self._database.reading() as connection:
            row = connection.execute(select(REVIEW_VALUES).where(_is(review, head, value))).first()
        if row is None:
            return None
        return Ruling(head=head, value=value, verdict=row.verdict, replacement=row.replacement)

    def rule(self, review: Review, person: str, ruling: Ruling) -> int:
        """Say what becomes of a value; returns how many cells it was proposed for.

        Where it is refused, the answers that proposed it are taken back, so that whoever gave them is
        asked again, too.
        """
        row = {
            "review": review.id,
            "head": ruling.head,
            "value": ruling.value,
            "person": person,
            "at": self._clock(),
            "verdict": ruling.verdict,
            "replacement": ruling.replacement,
        }
        with self._database.transaction() as connection:
            connection.execute(delete(REVIEW_VALUES).where(_is(review, ruling.head, ruling.value)))
            connection.execute(insert(REVIEW_VALUES).values(row))
            rows = _rows(connection, review, ruling)
            if ruling.verdict == "refused":
                taken_back = update(REVIEW_EVENTS).where(_proposes(review, ruling))
                connection.execute(taken_back.values(undone_at=self._clock()))
            for each in rows:
                settle(connection, review, each, ruling.head)
        return len(rows)


def _is(review: Review, head: int, value: str) -> Any:
    return and_(VALUES.review == review.id, VALUES.head == head, VALUES.value == value)


def _proposes(review: Review, ruling: Ruling) -> Any:
    """The condition of an answer that proposed the value and counts."""
    return and_(
        EVENTS.review == review.id,
        EVENTS.head == ruling.head,
        EVENTS.kind == "proposed",
        EVENTS.answer == ruling.value,
        EVENTS.undone_at.is_(None),
    )


def _rows(connection: Connection, review: Review, ruling: Ruling) -> Collection[int]:
    query = select(EVENTS.row).where(_proposes(review, ruling)).distinct()
    return connection.execute(query).scalars().all()


def _samples(connection: Connection, review: Review, head: int, value: str) -> tuple[int, ...]:
    own = and_(CELLS.review == review.id, CELLS.head == head, CELLS.proposed == value)
    query = select(CELLS.row).where(own).order_by(CELLS.row).limit(_NUM_SAMPLES)
    return tuple(connection.execute(query).scalars())
