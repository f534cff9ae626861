"""Chooses which cells of a predicted product people are asked about, and by which stream.

Shapes: H heads.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import polars as pl

from facetry.batch.shard import Shard
from facetry.confidence.fill_audit import FILL, watch_promises
from facetry.confidence.novelty import NOVEL
from facetry.predictions import OK
from facetry.product import Product
from facetry.review.answers import Stream
from facetry.review.store.decisions import standing
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy

OVERLAP: Final = 0.05
"""The share of cells that two people decide."""

SAMPLE: Final = 0.1
"""The share of the cells that were not filled that are asked about at random, without a promise."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A product and its cells as rows of the tables, but for the review, the row and the run."""

    product: Mapping[str, Any]
    cells: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class AuditShares:
    """The share of filled cells of each head (H), and of those left open, that are asked at random."""

    filled: Sequence[float]
    left_open: Sequence[float]

    @classmethod
    def of(cls, model: LoadedModel) -> "AuditShares":
        """As the promises of a model need them: the less is known of one, the more is asked."""
        if model.promises is None:
            num_heads = model.taxonomy.num_heads
            return cls(filled=[0.0] * num_heads, left_open=[SAMPLE] * num_heads)
        filled, left_open = watch_promises(model.promises, model.folder).shares()
        return cls(filled=filled, left_open=left_open)


class Draws(NamedTuple):
    """Numbers from 0 to 1, drawn for a cell: the same ones whenever the same cell is drawn for."""

    stream: float
    overlap: float
    order: float

    @classmethod
    def of(cls, seed: int, product_id: str, attribute: str) -> "Draws":
        """Those of a cell."""
        text = json.dumps([seed, product_id, attribute])
        digest = hashlib.blake2b(text.encode(), digest_size=24).digest()
        parts = (digest[:8], digest[8:16], digest[16:])
        return cls(*(int.from_bytes(each, "little") / 2**64 for each in parts))


class Chooser:
    """Chooses cells, product by product."""

    def __init__(self, model: LoadedModel, seed: int = 0) -> None:
        self._taxonomy: Taxonomy = model.taxonomy
        self._shares = AuditShares.of(model)
        self._seed = seed

    def chosen(self, shard: Shard, rows: pl.DataFrame) -> Iterator[Chosen]:
        """The products of a shard, with what was predicted of them."""
        records = rows.select("status", "predictions").iter_rows(named=True)
        for product, record in zip(shard.products, records, strict=True):
            problem = "" if record["status"] == OK else record["status"]
            yield Chosen(
                product=_product_row(product, problem),
                cells=list(self._cells(product, record["predictions"])),
            )

    def _cells(
        self, product: Product, predictions: Sequence[Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        if product.category not in self._taxonomy.categories:
            return
        by_attribute = {each["attribute"]: each for each in predictions}
        for index in self._taxonomy.head_indices(product.category):
            attribute = self._taxonomy.heads[index].attribute
            found = by_attribute.get(attribute)
            known = product.labels.get(attribute)
            draws = Draws.of(self._seed, str(product.id), attribute)
            stream = ""
            if known is None and found is not None:
                stream = self._stream(index, found, draws.stream)
            yield _cell_row(
                index,
                known,
                found,
                stream=stream,
                priority=draws.order,  # of what is drawn at random any part is a random sample
                num_wanted=2 if stream and draws.overlap < OVERLAP else 1,
            )

    def _stream(self, head: int, prediction: Mapping[str, Any], draw: float) -> Stream | str:
        """By which stream a blank cell is asked about; "" for not at all."""
        if prediction["action"] == FILL:
            return "audit" if draw < self._shares.filled[head] else ""
        if draw < self._shares.left_open[head]:
            return "sample"
        return "novel" if prediction["reason"] == NOVEL else "useful"


def _product_row(product: Product, problem: str) -> Mapping[str, Any]:
    return {
        "product_id": str(product.id),
        "category": product.category,
        "title": product.text,
        "photos": json.dumps([str(photo) for photo in product.photos]),
        "problem": problem,
    }


def _cell_row(
    head: int, known: str | None, prediction: Mapping[str, Any] | None, **choice: object
) -> Mapping[str, Any]:
    found = prediction or {}
    predicted, action = found.get("value"), found.get("action")
    value, source = standing(None, known, predicted, action)
    return {
        "head": head,
        "known": known,
        "predicted": predicted,
        "confidence": found.get("confidence"),
        "action": action,
        "alternatives": json.dumps(list(found.get("alternatives") or ())),
        "value": value,
        "source": source,
        **choice,
    }
