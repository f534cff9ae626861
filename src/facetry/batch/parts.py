"""A part: what is known of one shard's products, as a table of one row for each.

The rows of `facetry.tables`, and two columns beside: `text_digest` and `digest`, which tell whether text
or photos have changed.
"""

import hashlib
from collections.abc import Sequence
from io import BytesIO

import polars as pl

from facetry.predictions import Predictions
from facetry.product import Product
from facetry.tables import PREDICTIONS

FAILED = "failed: "
"""How the status of a row begins on which the predictor failed; its error's name follows."""

_TEXTS = ("id", "category", "text_digest", "digest", "status")
SCHEMA = pl.Schema({**dict.fromkeys(_TEXTS, pl.String()), "predictions": PREDICTIONS})
"""A part's columns; ids are whole numbers where those of all products are."""


def text_digest(text: str | None) -> str:
    """What tells two texts apart; "" for none.

    >>> text_digest(None), text_digest("Red saree")
    ('', 'c2b5d70a0347a707')
    """
    if text is None:
        return ""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def part_rows(products: Sequence[Product], predictions: Predictions) -> pl.DataFrame:
    """The rows of predicted products, in their order."""
    rows = predictions.to_rows().with_columns(
        pl.Series("text_digest", [text_digest(each.text) for each in products], dtype=pl.String),
        pl.Series("digest", [each.digest for each in products], dtype=pl.String),
    )
    return rows.select(SCHEMA.names())


def to_bytes(rows: pl.DataFrame) -> bytes:
    """A part as a Parquet file's content."""
    content = BytesIO()
    rows.write_parquet(content, compression="zstd")
    return content.getvalue()


def from_bytes(content: bytes) -> pl.DataFrame:
    """The part in a Parquet file's content."""
    return pl.read_parquet(BytesIO(content))
