"""The cells of a review as a grid: those that a filter chooses, page by page, and how complete it is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, tuple_

from facetry.review.store.records import CELLS, OF_PRODUCT, PRODUCTS, Cell, Review
from facetry.service.database import Database
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS

State = Literal["blank", "open", "disputed", "proposed"]

CELLS_ON_PAGE: Final = 50

MOST_COUNTED: Final = 10_000
"""Matches are counted up to here: more are "10,000 and more"."""

Place = tuple[int, int]
"""A cell's row and head, by which cells are ordered."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which cells are chosen: those for which everything that is given holds.

    `heads` are indices; `product` is the beginning of a product's id; `reviewer` is a person's id.
    """

    heads: Collection[int] | None = None
    value: str | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    action: str | None = None
    source: str | None = None
    reviewer: str | None = None
    state: State | None = None
    product: str | None = None


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """A cell with its product."""

    row: int
    product_id: str
    category: str
    title: str | None
    has_photo: bool
    cell: Cell


@dataclass(frozen=True, kw_only=True)
class HeadCounts:
    """How many cells of a head have a value, by source, and how many the table has one of alone."""

    num_cells: int = 0
    num_before: int = 0
    num_from_table: int = 0
    num_from_model: int = 0
    num_from_people: int = 0

    @property
    def num_after(self) -> int:
        """How many are decided as things stand; people may have said that there is no value."""
        return self.num_from_table + self.num_from_model + self.num_from_people

    @property
    def num_blank(self) -> int:
        """How many are not."""
        return self.num_cells - self.num_after

    def __add__(self, other: "HeadCounts") -> "HeadCounts":
        return HeadCounts(
            num_cells=self.num_cells + other.num_cells,
            num_before=self.num_before + other.num_before,
            num_from_table=self.num_from_table + other.num_from_table,
            num_from_model=self.num_from_model + other.num_from_model,
            num_from_people=self.num_from_people + other.num_from_people,
        )


class Grid:
    """The cells in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def places(
        self, review: Review, chosen: Chosen, *, after: Place | None = None, limit: int
    ) -> list[Place]:
        """The places of the first chosen cells, or of the first ones after a place."""
        # An index holds all that is asked for here, so that few rows of the table are read.
        query = select(CELLS.row, CELLS.head).where(*_conditions(review, chosen))
        if after is not None:
            row, head = after
            query = query.where(
                CELLS.row >= row, or_(CELLS.row > row, and_(CELLS.row == row, CELLS.head > head))
            )
        query = query.order_by(CELLS.row, CELLS.head).limit(limit)
        with self._database.reading() as connection:
            return [(row, head) for row, head in connection.execute(query)]

    def count(self, review: Review, chosen: Chosen) -> int:
        """How many cells are chosen; of more than `MOST_COUNTED`, that many."""
        some = select(CELLS.row).where(*_conditions(review, chosen)).limit(MOST_COUNTED).subquery()
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(some)).scalar_one()

    def cells(self, review: Review, places: Sequence[Place]) -> list[GridCell]:
        """The cells at some places, in their order."""
        # SQLite uses no index for pairs: the rows alone find them.
        is_one = and_(
            CELLS.row.in_([row for row, _ in places]), tuple_(CELLS.row, CELLS.head).in_(places)
        )
        return self._read(review, is_one) if places else []

    def of_product(self, review: Review, row: int) -> list[GridCell]:
        """The cells of a product."""
        return self._read(review, CELLS.row == row)

    def _read(self, review: Review, is_one: ColumnElement[bool]) -> list[GridCell]:
        query = (
            select(
                REVIEW_CELLS,
                PRODUCTS.product_id,
                PRODUCTS.category,
                PRODUCTS.title,
                PRODUCTS.photos,
            )
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
            .where(CELLS.review == review.id, is_one)
            .order_by(CELLS.row, CELLS.head)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            GridCell(
                row=row.row,
                product_id=row.product_id,
                category=row.category,
                title=row.title,
                has_photo=row.photos != "[]",
                cell=Cell.of(row),
            )
            for row in rows
        ]

    def cell(self, review: Review, place: Place) -> GridCell:
        """The cell at a place.

        Raises:
            Problem: there is none.
        """
        found = self.cells(review, [place])
        if not found:
            raise Problem("not_found", "There is no such cell in this review.")
        return found[0]

    def completeness(self, review: Review) -> Mapping[int, HeadCounts]:
        """How complete each head is, by its index."""
        own = CELLS.review == review.id
        by_source = (
            select(CELLS.head, CELLS.source, func.count()).where(own).group_by(CELLS.head, CELLS.source)
        )
        replaced = (
            select(CELLS.head, func.count())
            .where(own, CELLS.source == "person", CELLS.known.is_not(None))
            .group_by(CELLS.head)
        )
        found: dict[int, dict[str, int]] = {}
        with self._database.reading() as connection:
            for head, source, count in connection.execute(by_source):
                found.setdefault(head, {})[source] = count
            known = {head: count for head, count in connection.execute(replaced)}  # noqa: C416
        return {
            head: HeadCounts(
                num_cells=sum(counts.values()),
                num_before=counts.get("table", 0) + known.get(head, 0),
                num_from_table=counts.get("table", 0),
                num_from_model=counts.get("model", 0),
                num_from_people=counts.get("person", 0),
            )
            for head, counts in sorted(found.items())
        }


def _conditions(review: Review, chosen: Chosen) -> list[ColumnElement[bool]]:
    """What holds of the cells that are chosen."""
    found: list[ColumnElement[bool] | None] = [
        CELLS.review == review.id,
        None if chosen.heads is None else CELLS.head.in_(sorted(chosen.heads)),
        None if chosen.value is None else CELLS.value == chosen.value,
        None if chosen.min_confidence is None else CELLS.confidence >= chosen.min_confidence,
        None if chosen.max_confidence is None else CELLS.confidence <= chosen.max_confidence,
        None if chosen.action is None else CELLS.action == chosen.action,
        None if chosen.source is None else CELLS.source == chosen.source,
        None if chosen.reviewer is None else CELLS.decided_by == chosen.reviewer,
        None if chosen.state is None else _STATES[chosen.state],
        None if chosen.product is None else CELLS.row.in_(_rows_of(review, chosen.product)),
    ]
    return [each for each in found if each is not None]


def _rows_of(review: Review, beginning: str) -> Select[tuple[int]]:
    """The rows of the products whose ids begin so."""
    own = and_(PRODUCTS.review == review.id, PRODUCTS.product_id.startswith(beginning, autoescape=True))
    return select(PRODUCTS.row).where(own)


_STATES: Final[Mapping[State, ColumnElement[bool]]] = {
    "blank": CELLS.source == "none",
    "open": CELLS.is_open,
    "disputed": CELLS.is_disputed,
    "proposed": CELLS.proposed.is_not(None),
}
