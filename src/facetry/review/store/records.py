"""What the store hands out: reviews, cells and products, and the conditions that name their rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Row, and_

from facetry.review.answers import BLIND
from facetry.service.tables import (
    REVIEW_CELLS,
    REVIEW_EVENTS,
    REVIEW_PRODUCTS,
    REVIEW_RUNS,
    REVIEW_VALUES,
)

CELLS, PRODUCTS, EVENTS = REVIEW_CELLS.c, REVIEW_PRODUCTS.c, REVIEW_EVENTS.c
RUNS, VALUES = REVIEW_RUNS.c, REVIEW_VALUES.c
OF_PRODUCT: Final = and_(PRODUCTS.review == CELLS.review, PRODUCTS.row == CELLS.row)


LABELLED: Final = ("table", "person")
"""The sources of values that are labels: what a model has filled in is none."""

IS_LABEL: Final = and_(CELLS.source.in_(LABELLED), CELLS.value.is_not(None))
"""The condition of a cell that has a label."""

Record = TypeVar("Record")


def from_row(kind: type[Record], row: Row[Any], **others: object) -> Record:
    """A record whose fields are called like the row's columns, but for the `others`."""
    named = {each.name: getattr(row, each.name) for each in fields(kind) if each.name not in others}  # type: ignore[arg-type]
    return kind(**named, **others)


@dataclass(frozen=True, kw_only=True)
class Review:
    """A catalogue that people decide cells of, with the model that predicted them.

    `catalogue` and `images` are paths, the latter of a photo folder if one was named. `is_ready` says
    that all products of the table are in.
    """

    id: str
    name: str
    catalogue: str
    images: str | None = None
    model: str
    model_version: str
    precision: float | None
    is_ready: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    """One time that a model predicted the table of a review.

    `table` is a digest of what identifies the table that was read, `heads` one of the heads' names,
    `fingerprint` one of all that the model's answers depend on. Times are seconds since 1970; `ended_at`
    is None while it goes on.
    """

    number: int
    table: str
    heads: str
    model: str
    model_path: str
    model_version: str
    fingerprint: str
    precision: float | None
    begun_at: float
    ended_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a product; `is_blind` says that what was predicted is not to be shown.

    `value` is what the catalogue has as things stand, by its `source`: table, model, person or none.
    `run` is the one that predicted it.
    """

    head: int
    known: str | None
    predicted: str | None
    confidence: float | None
    action: str | None
    alternatives: tuple[str, ...]
    stream: str
    is_open: bool
    decided: str | None
    decided_by: str | None
    is_disputed: bool
    proposed: str | None
    value: str | None
    source: str
    run: int

    @classmethod
    def of(cls, row: Row[Any]) -> "Cell":
        """That of a row."""
        return from_row(cls, row, alternatives=tuple(json.loads(row.alternatives)))

    @property
    def label(self) -> str | None:
        """The value, if it is a label."""
        return self.value if self.source in LABELLED else None

    @property
    def is_blind(self) -> bool:
        """Whether the model's answer is hidden from whoever decides."""
        return self.stream in BLIND and not self.is_disputed


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a person has said of a cell; `person` is their id."""

    person: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A product to decide cells of, with all of its cells.

    `asked` are the heads that its person is asked about; `said` has, by head, what people said of
    cells that they disagree about. `neighbours` are the rows of labelled products like it.
    """

    row: int
    product_id: str
    category: str
    title: str | None
    photos: tuple[str, ...]
    problem: str
    cells: tuple[Cell, ...]
    asked: frozenset[int]
    said: Mapping[int, tuple[Said, ...]]
    neighbours: tuple[int, ...] = ()

    @property
    def open_cells(self) -> tuple[Cell, ...]:
        """Those that a person is needed for."""
        return tuple(cell for cell in self.cells if cell.head in self.asked)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a cell, by whom and when; `known` is what the table had.

    `run` is the one that predicted it.
    """

    row: int
    product_id: str
    category: str
    head: int
    known: str | None
    decided: str
    person: str
    at: float
    stream: str
    predicted: str | None
    confidence: float | None
    action: str | None
    run: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many cells are still asked about, by stream, and how many were decided."""

    num_open: Mapping[str, int]
    num_decided: int
    num_disputed: int


def is_product(review: Review, row: int) -> ColumnElement[bool]:
    """The condition of a product's row."""
    return and_(PRODUCTS.review == review.id, PRODUCTS.row == row)


def is_cell(review: Review, row: int, head: int) -> ColumnElement[bool]:
    """The condition of a cell's row."""
    return and_(CELLS.review == review.id, CELLS.row == row, CELLS.head == head)
