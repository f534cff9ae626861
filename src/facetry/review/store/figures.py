"""What the store says about a model and about people: counts and tables for the figures on a page.

None of it is for a request to wait for, but for `state`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, func, select

from facetry.review.store.records import CELLS, EVENTS, PRODUCTS, Review
from facetry.service.tables import REVIEW_CELLS

EVENT_COLUMNS: Final = pl.Schema(
    {
        "row": pl.Int64(),
        "head": pl.Int64(),
        "answer": pl.String(),
        "person": pl.String(),
        "at": pl.Float64(),
        "seconds": pl.Float64(),
        "predicted": pl.String(),
        "was_shown": pl.Boolean(),
        "is_ruling": pl.Boolean(),
    }
)
"""What is known of an answer about a cell."""

_ROWS_AT_ONCE: Final = 400


def state(connection: Connection, review: Review) -> tuple[int, int]:
    """Two numbers that change with everything that is said or taken back."""
    own = EVENTS.review == review.id
    found = connection.execute(
        select(func.max(EVENTS.number), func.count(EVENTS.undone_at)).where(own)
    ).one()
    return found[0] or 0, found[1]


def answers(connection: Connection, review: Review) -> pl.DataFrame:
    """The answers about single cells that stand, in their order, with `EVENT_COLUMNS`.

    Those that were taken back are none, nor are changes of many cells at once.
    """
    counts = and_(EVENTS.undone_at.is_(None), EVENTS.bulk.is_(None), EVENTS.answer.is_not(None))
    query = (
        select(*(EVENTS[name] for name in EVENT_COLUMNS))
        .where(EVENTS.review == review.id, EVENTS.head.is_not(None), counts)
        .order_by(EVENTS.number)
    )
    rows = [tuple(row) for row in connection.execute(query)]
    return pl.DataFrame(rows, schema=EVENT_COLUMNS, orient="row")


def num_disputed(connection: Connection, review: Review) -> int:
    """How many cells wait for somebody who may rule."""
    query = select(func.count()).select_from(REVIEW_CELLS)
    return connection.execute(query.where(CELLS.review == review.id, CELLS.is_disputed)).scalar_one()


def cell_counts(connection: Connection, review: Review) -> pl.DataFrame:
    """How many cells there are: columns `head`, `source`, `run`, `count`."""
    groups = (CELLS.head, CELLS.source, CELLS.run)
    query = select(*groups, func.count()).where(CELLS.review == review.id).group_by(*groups)
    rows = [tuple(row) for row in connection.execute(query)]
    kinds = {"head": pl.Int64, "source": pl.String, "run": pl.Int64, "count": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def fillable(connection: Connection, review: Review) -> dict[int, NDArray[np.float64]]:
    """The confidence of the cells that a model could fill or has filled, by the index of the head."""
    is_blank = and_(CELLS.source.in_(("none", "model")), CELLS.confidence.is_not(None))
    query = select(CELLS.head, CELLS.confidence).where(CELLS.review == review.id, is_blank)
    found = np.array([tuple(row) for row in connection.execute(query)]).reshape(-1, 2)
    heads = found[:, 0].astype(np.int64)
    return {int(head): found[heads == head, 1] for head in np.unique(heads)}


def predicted(connection: Connection, review: Review, run: int, limit: int) -> list[Mapping[str, Any]]:
    """The cells that a run predicted of so many products at random: row, head, value, confidence."""
    own = and_(PRODUCTS.review == review.id, PRODUCTS.run == run, PRODUCTS.problem == "")
    rows = np.array(connection.execute(select(PRODUCTS.row).where(own)).scalars().all(), dtype=np.int64)
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[:limit])
    return [
        cell
        for start in range(0, len(drawn), _ROWS_AT_ONCE)
        for cell in _cells(connection, review, drawn[start : start + _ROWS_AT_ONCE].tolist())
    ]


def _cells(connection: Connection, review: Review, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    query = (
        select(CELLS.row, CELLS.head, CELLS.predicted, CELLS.confidence)
        .where(CELLS.review == review.id, CELLS.row.in_(rows), CELLS.predicted.is_not(None))
        .order_by(CELLS.row, CELLS.head)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def num_novel(connection: Connection, review: Review) -> int:
    """How many products are unlike those that the model learned from."""
    is_novel = and_(CELLS.review == review.id, CELLS.stream == "novel")
    return connection.execute(select(func.count(CELLS.row.distinct())).where(is_novel)).scalar_one()
