"""A part: what is known of one shard's products, as a table of one row for each.

Columns: `id`; `category`; `text_digest` and `digest`, which tell whether text or photos have changed;
`status`, which is "ok" or the reason why there is no prediction; `predictions`, a list of records of
attribute, value and confidence in the taxonomy's order.
"""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl

from facetry.predictions import Predictions
from facetry.product import Product

OK = "ok"
"""The status of a row with predictions."""

FAILED = "failed: "
"""How the status of a row begins on which the predictor failed; its error's name follows."""

_PREDICTION = {"attribute": pl.String(), "value": pl.String(), "confidence": pl.Float32()}
_PREDICTIONS = pl.List(pl.Struct(_PREDICTION))

_TEXTS = ("id", "category", "text_digest", "digest", "status")
SCHEMA = pl.Schema({**dict.fromkeys(_TEXTS, pl.String()), "predictions": _PREDICTIONS})
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
    return pl.DataFrame(
        {
            "id": id_column(products),
            "category": pl.Series([each.category for each in products], dtype=pl.String),
            "text_digest": pl.Series([text_digest(each.text) for each in products], dtype=pl.String),
            "digest": pl.Series([each.digest for each in products], dtype=pl.String),
            "status": pl.Series([each or OK for each in predictions.problems], dtype=pl.String),
            "predictions": _nested(predictions),
        }
    )


def id_column(products: Sequence[Product]) -> pl.Series:
    """The products' ids, all of one kind, as a table's are."""
    kind = pl.Int64 if all(isinstance(each.id, int) for each in products) else pl.String
    return pl.Series("id", [each.id for each in products], dtype=kind)


def to_bytes(rows: pl.DataFrame) -> bytes:
    """A part as a Parquet file's content."""
    content = BytesIO()
    rows.write_parquet(content, compression="zstd")
    return content.getvalue()


def from_bytes(content: bytes) -> pl.DataFrame:
    """The part in a Parquet file's content."""
    return pl.read_parquet(BytesIO(content))


def _nested(predictions: Predictions) -> pl.Series:
    """The predictions of each product in one cell."""
    import pyarrow as pa

    long = predictions.to_long().select(pl.struct("attribute", "value", "confidence").alias("each"))
    counts = predictions.head_mask.sum(axis=1)  # B
    offsets = np.concatenate([[0], np.cumsum(counts)])
    # Made of its memory: pyarrow's own way from numpy's arrays imports pandas, which takes a second.
    content = pa.py_buffer(offsets.astype(np.int64))
    ends = pa.Array.from_buffers(pa.int64(), len(offsets), [None, content])
    cells: Any = pa.LargeListArray.from_arrays(ends, long["each"].to_arrow())
    return pl.Series("predictions", cells, dtype=_PREDICTIONS)
