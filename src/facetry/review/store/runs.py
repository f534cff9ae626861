"""The runs of models over the table of a review, and what each brings into the store."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, Protocol

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, select, tuple_, update

from facetry.errors import SettingError
from facetry.review.store.decisions import settle
from facetry.review.store.records import CELLS, EVENTS, PRODUCTS, RUNS, Review, Run, from_row
from facetry.service.database import Clock, Database
from facetry.service.tables import (
    REVIEW_CELLS,
    REVIEW_PRODUCTS,
    REVIEW_RUNS,
    REVIEWS,
)

_PREDICTED: Final = ("known", "predicted", "confidence", "action", "alternatives", "run")
_CHOICE: Final = ("stream", "priority", "num_wanted", "is_open", "value", "source")


class ChosenProduct(Protocol):
    """A product and its cells as rows of the tables, but for the review, the row and the run."""

    @property
    def product(self) -> Mapping[str, Any]:
        """The product's row."""
        ...

    @property
    def cells(self) -> Sequence[Mapping[str, Any]]:
        """The rows of its cells."""
        ...


class RunStore:
    """The runs in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def begin(self, review: Review, run: Run) -> Run:
        """Begin a run, or return the last one if it is of the same table, model and promise.

        Raises:
            SettingError: the model predicts other attributes: what was decided would be of other cells.
        """
        last = self.last(review)
        if last is not None and last.heads != run.heads:
            raise SettingError(
                f"The review {review.name!r} is about other attributes than {run.model_path} predicts.",
                hint="Name the model that it was begun with, or another --data for a new review.",
            )
        if last is not None and _input(last) == _input(run):
            return last
        begun = replace(run, number=last.number + 1 if last else 1, begun_at=self._clock())
        with self._database.transaction() as connection:
            connection.execute(insert(REVIEW_RUNS).values(review=review.id, **asdict(begun)))
        return begun

    def all(self, review: Review) -> list[Run]:
        """The runs of models over a review's table, the first one first."""
        query = select(REVIEW_RUNS).where(RUNS.review == review.id).order_by(RUNS.number)
        with self._database.reading() as connection:
            return [from_row(Run, row) for row in connection.execute(query)]

    def last(self, review: Review) -> Run | None:
        """The last run of a review."""
        query = select(REVIEW_RUNS).where(RUNS.review == review.id).order_by(RUNS.number.desc())
        with self._database.reading() as connection:
            row = connection.execute(query.limit(1)).first()
        return None if row is None else from_row(Run, row)

    def withdraw(self, review: Review, heads: Collection[int]) -> None:
        """Have people asked about what a model filled of some heads: its promise was not kept."""
        own = and_(CELLS.review == review.id, CELLS.head.in_(heads), CELLS.source == "model")
        is_asked = CELLS.stream != ""
        to_review = {"action": "review", "source": "none", "value": None}
        with self._database.transaction() as connection:
            connection.execute(update(REVIEW_CELLS).where(own, is_asked).values(to_review))
            connection.execute(
                update(REVIEW_CELLS).where(own).values(**to_review, stream="useful", is_open=True)
            )

    def replace_model(self, review: Review, run: Run, version: str, fingerprint: str) -> None:
        """Say that a run is as good as one of another version: of the same model with fewer promises."""
        own = and_(RUNS.review == review.id, RUNS.number == run.number)
        with self._database.transaction() as connection:
            connection.execute(
                update(REVIEW_RUNS).where(own).values(model_version=version, fingerprint=fingerprint)
            )
            connection.execute(
                update(REVIEWS).where(REVIEWS.c.id == review.id).values(model_version=version)
            )

    def merge(self, review: Review, run: Run, chosen: Sequence[ChosenProduct]) -> None:
        """Bring products with their cells into the store; all of them or none.

        What people have said of a cell stays, and so does the stream that it was asked by.
        """
        with self._database.transaction() as connection:
            stored = _stored_rows(connection, review, [each.product["product_id"] for each in chosen])
            rows = _with_rows(connection, review, chosen, stored)
            base = {"review": review.id, "run": run.number}
            products = [{**each.product, **base, "row": row} for row, each in rows]
            cells = [{**cell, **base, "row": row} for row, each in rows for cell in each.cells]
            _put_products(connection, products, set(stored.values()))
            said = _said_of(connection, review, stored.values())
            _put_cells(connection, review, cells, said)
            for row, head in said.intersection((each["row"], each["head"]) for each in cells):
                settle(connection, review, row, head)

    def end(self, review: Review, run: Run) -> None:
        """Say that all products of a run are in; those that it has not seen are asked about no more."""
        gone = select(PRODUCTS.row).where(PRODUCTS.review == review.id, PRODUCTS.run < run.number)
        own = and_(RUNS.review == review.id, RUNS.number == run.number)
        with self._database.transaction() as connection:
            connection.execute(
                delete(REVIEW_CELLS).where(CELLS.review == review.id, CELLS.row.in_(gone))
            )
            connection.execute(update(REVIEW_RUNS).where(own).values(ended_at=self._clock()))
            connection.execute(
                update(REVIEWS)
                .where(REVIEWS.c.id == review.id)
                .values(
                    is_ready=True,
                    model=run.model,
                    model_version=run.model_version,
                    precision=run.precision,
                )
            )


def _input(run: Run) -> tuple[str, str, float | None]:
    return run.table, run.fingerprint, run.precision


def _stored_rows(connection: Connection, review: Review, ids: Sequence[str]) -> dict[str, int]:
    """The rows of products that are stored already."""
    query = select(PRODUCTS.product_id, PRODUCTS.row).where(
        PRODUCTS.review == review.id, PRODUCTS.product_id.in_(ids)
    )
    return {product_id: row for product_id, row in connection.execute(query)}  # noqa: C416


def _with_rows(
    connection: Connection,
    review: Review,
    chosen: Sequence[ChosenProduct],
    stored: Mapping[str, int],
) -> list[tuple[int, ChosenProduct]]:
    """Each product with its row: the one that it has, or the next that is free."""
    query = select(func.coalesce(func.max(PRODUCTS.row), -1)).where(PRODUCTS.review == review.id)
    free = connection.execute(query).scalar_one() + 1
    rows = []
    for each in chosen:
        row = stored.get(each.product["product_id"])
        rows.append((free if row is None else row, each))
        free += row is None
    return rows


def _put_products(
    connection: Connection, products: Sequence[Mapping[str, Any]], stored: Collection[int]
) -> None:
    new = [each for each in products if each["row"] not in stored]
    if new:
        connection.execute(insert(REVIEW_PRODUCTS), [{**each, "is_flagged": False} for each in new])
    old = [each for each in products if each["row"] in stored]
    if old:
        names = ("category", "title", "photos", "problem", "run")
        _update_all(connection, REVIEW_PRODUCTS, ("review", "row"), names, old)


def _said_of(connection: Connection, review: Review, rows: Collection[int]) -> set[tuple[int, int]]:
    """The cells, by row and head, of some products that people have said something about."""
    query = select(EVENTS.row, EVENTS.head).where(
        EVENTS.review == review.id, EVENTS.row.in_(rows), EVENTS.head.is_not(None)
    )
    return {(row, head) for row, head in connection.execute(query.distinct())}


def _put_cells(
    connection: Connection,
    review: Review,
    cells: Sequence[Mapping[str, Any]],
    said: set[tuple[int, int]],
) -> None:
    """Store cells, and take away those that their products have no longer."""
    rows = {each["row"] for each in cells}
    query = select(CELLS.row, CELLS.head).where(CELLS.review == review.id, CELLS.row.in_(rows))
    stored = {(row, head) for row, head in connection.execute(query)}
    as_rows = [
        {**each, "is_open": each["stream"] != "", "num_decided": 0, "is_disputed": False}
        for each in cells
    ]
    by_key = {(each["row"], each["head"]): each for each in as_rows}
    if gone := stored - by_key.keys():
        is_gone = tuple_(CELLS.row, CELLS.head).in_(gone)
        connection.execute(delete(REVIEW_CELLS).where(CELLS.review == review.id, is_gone))
    if new := [each for key, each in by_key.items() if key not in stored]:
        connection.execute(insert(REVIEW_CELLS), new)
    key = ("review", "row", "head")
    for names, is_said in (((*_PREDICTED, *_CHOICE), False), (_PREDICTED, True)):
        old = [each for at, each in by_key.items() if at in stored and (at in said) == is_said]
        if old:
            _update_all(connection, REVIEW_CELLS, key, names, old)


def _update_all(
    connection: Connection,
    table: Any,
    key: Sequence[str],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Update rows, each by its key."""
    is_row = and_(*(table.c[name] == bindparam(f"of_{name}") for name in key))
    change = update(table).where(is_row).values({name: bindparam(f"new_{name}") for name in names})
    connection.execute(
        change,
        [
            {f"of_{name}": row[name] for name in key} | {f"new_{name}": row[name] for name in names}
            for row in rows
        ],
    )
