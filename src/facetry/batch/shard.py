"""Scores one shard of a table: a function that any runner can map over all shards.

Decoding, predicting and building tables overlap: photos are decoded ahead of the predictor, which
works one batch ahead of the tables.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import polars as pl

from facetry.batch.manifest import part_rows
from facetry.batch.patient import PatientPredictor
from facetry.batch.previous import NO_PREVIOUS_ROWS, PreviousRows
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import PhotoProblem, first_line
from facetry.images import NUM_DECODERS, NUM_OBJECT_READERS, load_batches
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.runtime.objects import ObjectPath
from facetry.runtime.prefetch import prefetch
from facetry.runtime.progress import SILENT, Advance, Reporter

SHARD_ROWS = 10_000
"""Rows of the table in a shard: the most that a killed process loses."""

_ROWS_AT_ONCE = 1024  # rows read from the table at a time
_BATCHES_AHEAD = 2  # one is predicted while another waits


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive products of the table; `number` counts shards from 0."""

    number: int
    products: Sequence[Product]


def cut(catalogue: Catalogue, shard_rows: int = SHARD_ROWS) -> Iterator[Shard]:
    """The table's shards in order, read lazily.

    Raises:
        CatalogueError: a later row of the table cannot be read.
    """
    rows = (each for part in catalogue.stream(_ROWS_AT_ONCE) for each in part)
    for number in count():
        products = tuple(islice(rows, shard_rows))
        if not products:
            return
        yield Shard(number=number, products=products)
        del products  # two shards at once would take twice the memory


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A shard's `rows`, see `manifest.SCHEMA`; `num_reused` of them come from a previous run."""

    rows: pl.DataFrame
    num_reused: int


def score_shard(
    shard: Shard,
    predictor: Predictor,
    previous: PreviousRows = NO_PREVIOUS_ROWS,
    *,
    num_decoders: int = NUM_DECODERS,
    advance: Advance = lambda _: None,
    reporter: Reporter = SILENT,
) -> Scored:
    """A row for each product, in order; rows of unchanged products are copied from `previous`.

    A product that cannot be read or predicted does not raise: its row has the reason as `status`. Only
    Ctrl-C, a MemoryError and a FacetryError, which concerns all products, are raised. Photos that were
    missing but exist by the end of the shard are read then, but for objects, which were listed before.
    The first failure of the predictor is reported. `num_decoders` threads read and decode photos, and
    more of them objects, for which one waits.
    """
    has_objects = any(isinstance(each, ObjectPath) for each in _first_photos(shard.products))
    num_readers = max(num_decoders, NUM_OBJECT_READERS) if has_objects else num_decoders
    scorer = _Scorer(predictor, previous, num_readers, reporter)
    rows = scorer.score(shard.products, advance)
    if has_objects:
        return Scored(rows=rows, num_reused=scorer.num_reused)
    is_missing = rows["status"] == PhotoProblem.MISSING.value
    missing = [shard.products[row] for row in is_missing.arg_true()]
    late = [product for product in missing if any(photo.exists() for photo in product.photos)]
    if late:
        rows = _in_order([rows, scorer.score(late, lambda _: None)], shard.products)
    return Scored(rows=rows, num_reused=scorer.num_reused)


def _first_photos(products: Sequence[Product]) -> Iterator[Path]:
    return (photo for each in products for photo in each.photos[:1])


class _Scorer:
    def __init__(
        self, predictor: Predictor, previous: PreviousRows, num_decoders: int, reporter: Reporter
    ) -> None:
        self.predictor = PatientPredictor(predictor, self._report)
        self.previous = previous
        self.num_decoders = num_decoders
        self.reporter = reporter
        self.num_reused = 0
        self.has_failed = False

    def score(self, products: Sequence[Product], advance: Advance) -> pl.DataFrame:
        batches = load_batches(
            products,
            self.predictor.preprocesses,
            is_known=self.previous.has,
            num_workers=self.num_decoders,
            reporter=self.reporter,
        )
        scored = prefetch(self._predict_new, batches, num_workers=1, num_prefetched=_BATCHES_AHEAD)
        frames = []
        with closing(scored):
            for unchanged, new, predictions in scored:
                frames += [self.previous.select(unchanged)] if unchanged else []
                frames += [part_rows(new, predictions)] if predictions else []
                self.num_reused += len(unchanged)
                advance(len(unchanged) + len(new))
        return _in_order(frames, products)

    def _predict_new(
        self, batch: Sequence[Product]
    ) -> tuple[list[Product], Sequence[Product], Predictions | None]:
        """The batch's unchanged products, its other ones, and predictions for these if any."""
        unchanged: list[Product] = []
        new: list[Product] = []
        for product in batch:
            (unchanged if self.previous.has(product) else new).append(product)
        predictions = self.predictor.predict(new) if new else None
        return unchanged, [replace(product, pixels={}) for product in new], predictions

    def _report(self, product: Product, error: Exception) -> None:
        """Report the first failure on a product that was read."""
        if not self.has_failed and not product.problem:
            self.reporter.say(
                f"Product {product.id} failed: {type(error).__name__}: {first_line(error)}"
            )
            self.has_failed = True


def _in_order(frames: Sequence[pl.DataFrame], products: Sequence[Product]) -> pl.DataFrame:
    """The rows of all frames in the products' order; of two for one product the later is used."""
    rows = pl.concat(frames)
    ids = [product.id for product in products]
    if rows["id"].to_list() == ids:  # the usual case; sorting would copy all rows
        return rows
    rows = rows.unique("id", keep="last", maintain_order=True)
    positions = {each: index for index, each in enumerate(ids)}
    return rows[np.argsort([positions[each] for each in rows["id"]])]
