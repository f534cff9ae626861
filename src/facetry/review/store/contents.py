"""All cells of a review as one table, read some products at a time: nobody who decides waits for it."""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl
from sqlalchemy import Connection, func, select

from facetry.confidence.fill_audit import NO_VALUE
from facetry.review.store.records import CELLS, OF_PRODUCT, PRODUCTS, VALUES, Review
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.database import Database, let_others_in
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS
from facetry.taxonomy import Taxonomy

_PRODUCTS_AT_ONCE: Final = 1000

_STORED: Final = pl.Schema(
    {
        "row": pl.Int64(),
        "id": pl.String(),
        "category": pl.String(),
        "head": pl.Int64(),
        "known": pl.String(),
        "predicted": pl.String(),
        "confidence": pl.Float64(),
        "action": pl.String(),
        "decided": pl.String(),
        "decided_by": pl.String(),
        "decided_at": pl.Float64(),
        "is_disputed": pl.Boolean(),
        "proposed": pl.String(),
        "value": pl.String(),
        "source": pl.String(),
        "run": pl.Int64(),
    }
)


def read_contents(
    database: Database, review: Review, taxonomy: Taxonomy, reporter: Reporter = SILENT
) -> pl.DataFrame:
    """The cells of a review in the order of its rows, each as it is when it is read.

    Columns: those of the tables, `id` the product's, `attribute`, and `stands`: the value, or the answer
    that there is none.
    """
    count = select(func.coalesce(func.max(PRODUCTS.row), -1)).where(PRODUCTS.review == review.id)
    with database.reading() as connection:
        num_rows = connection.execute(count).scalar_one() + 1
    parts = [_STORED.to_frame()]
    with reporter.bar("Reading the cells", num_rows) as advance:
        for start in range(0, num_rows, _PRODUCTS_AT_ONCE):
            with database.reading() as connection:
                parts.append(_frame(_rows(connection, review, start)))
            advance(min(_PRODUCTS_AT_ONCE, num_rows - start))
            let_others_in()
    attributes = {index: head.attribute for index, head in enumerate(taxonomy.heads)}
    is_none = pl.col("decided").is_in(list(NO_VALUE))
    return pl.concat(parts).with_columns(
        attribute=pl.col("head").replace_strict(attributes, return_dtype=pl.String),
        stands=pl.coalesce("value", pl.when(is_none).then("decided")),
    )


def read_products(database: Database, review: Review) -> pl.DataFrame:
    """The products of a review: row, id and category."""
    query = select(PRODUCTS.row, PRODUCTS.product_id, PRODUCTS.category)
    with database.reading() as connection:
        rows = connection.execute(query.where(PRODUCTS.review == review.id).order_by(PRODUCTS.row))
        found = [tuple(each) for each in rows]
    schema = {"row": pl.Int64, "id": pl.String, "category": pl.String}
    return pl.DataFrame(found, schema=schema, orient="row")


def added_values(connection: Connection, review: Review) -> dict[int, list[str]]:
    """The values that admins have added to the heads of a review, by head."""
    own = VALUES.review == review.id
    query = select(VALUES.head, VALUES.value, VALUES.replacement).where(own, VALUES.verdict == "added")
    found: dict[int, list[str]] = {}
    for head, value, replacement in connection.execute(query):
        found.setdefault(head, []).append(replacement or value)
    return found


def _rows(connection: Connection, review: Review, start: int) -> Iterator[tuple[Any, ...]]:
    query = (
        select(
            CELLS.row,
            PRODUCTS.product_id,
            PRODUCTS.category,
            CELLS.head,
            CELLS.known,
            CELLS.predicted,
            CELLS.confidence,
            CELLS.action,
            CELLS.decided,
            CELLS.decided_by,
            CELLS.decided_at,
            CELLS.is_disputed,
            CELLS.proposed,
            CELLS.value,
            CELLS.source,
            CELLS.run,
        )
        .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
        .where(CELLS.review == review.id, CELLS.row >= start, CELLS.row < start + _PRODUCTS_AT_ONCE)
        .order_by(CELLS.row, CELLS.head)
    )
    return map(tuple, connection.execute(query))


def _frame(rows: Iterator[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=_STORED, orient="row")
