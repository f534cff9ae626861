"""Predictions as tables: a row for each product, and what is read of such rows.

Rows have the columns `id`, whole numbers where all are, else text; `category`; `status`, which is "ok"
or the reason why there is no prediction; `predictions`, a list of records of attribute, value and
confidence in the taxonomy's order. They may have others besides.
"""

from collections.abc import Iterable
from typing import Final

import polars as pl

from facetry.product import ProductId
from facetry.taxonomy import Taxonomy

FILL: Final = "dummy_value"
"""What the challenge's submission holds where a category has no such attribute."""

OK: Final = "ok"
"""The status of a row with predictions."""

_PREDICTION = {"attribute": pl.String(), "value": pl.String(), "confidence": pl.Float32()}
PREDICTIONS: Final = pl.List(pl.Struct(_PREDICTION))
"""What a cell of the column `predictions` holds."""


def id_column(ids: Iterable[ProductId]) -> pl.Series:
    """Ids as whole numbers if all of them are, else as text."""
    ids = list(ids)
    if all(isinstance(each, int) for each in ids):
        return pl.Series("id", ids, dtype=pl.Int64)
    return pl.Series("id", [str(each) for each in ids], dtype=pl.String)


def to_long(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each prediction: id, category, attribute, value, confidence."""
    predicted = rows.filter(pl.col("predictions").list.len() > 0)
    return predicted.select("id", "category", "predictions").explode("predictions").unnest("predictions")


def to_submission(
    rows: pl.DataFrame, taxonomy: Taxonomy, *, fill: str = FILL, num_slots: int | None = None
) -> pl.DataFrame:
    """The challenge's submission: id, Category, len, attr_1 ... attr_A, or as many slots as asked for.

    `fill` stands where a category has no such attribute and where nothing was predicted.
    """
    lengths = {category: len(taxonomy.attributes(category)) for category in taxonomy.categories}
    values = pl.col("predictions").list.eval(pl.element().struct.field("value"))
    return rows.select(
        "id",
        pl.col("category").alias("Category"),
        pl.col("category").replace_strict(lengths, default=0, return_dtype=pl.Int64).alias("len"),
        *(
            values.list.get(slot, null_on_oob=True).fill_null(fill).alias(f"attr_{slot + 1}")
            for slot in range(num_slots or taxonomy.num_slots)
        ),
    )


def to_problems(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for each product without predictions: id, category, problem."""
    without = rows.filter(pl.col("status") != OK)
    return without.select("id", "category", pl.col("status").alias("problem"))
