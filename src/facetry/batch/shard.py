"""Scores one shard of a table: a function that any runner can map over all of them.

Decoding, predicting and making tables go on side by side: decoders work ahead of the predictor, and
that works one batch ahead of the tables.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import polars as pl

from facetry.batch.manifest import FAILED, part_rows
from facetry.batch.previous import NO_PREVIOUS_ROWS, PreviousRows
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import FacetryError, PhotoProblem, first_line
from facetry.images import load_batches
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.runtime.prefetch import prefetch
from facetry.runtime.progress import SILENT, Advance, Reporter

SHARD_ROWS = 10_000
"""Rows of the table in a shard: what a kill loses at most."""

_ROWS_AT_ONCE = 1024  # rows read from the table at a time
_BATCHES_AHEAD = 2  # one that is predicted while another waits


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Products that stand together in the table; `number` counts shards from 0."""

    number: int
    products: Sequence[Product]


def cut(catalogue: Catalogue, shard_rows: int = SHARD_ROWS) -> Iterator[Shard]:
    """The table's shards in order, read as they are asked for.

    Raises:
        CatalogueError: the table turns out to be unreadable further down.
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
    """A shard's `rows`, see `parts`; `num_taken` of them are an earlier run's."""

    rows: pl.DataFrame
    num_taken: int


def score_shard(
    shard: Shard,
    predictor: Predictor,
    known: PreviousRows = NO_PREVIOUS_ROWS,
    *,
    advance: Advance = lambda _: None,
    reporter: Reporter = SILENT,
) -> Scored:
    """A row for each product, in order; what is `known` is taken over, not predicted.

    No product can stop it: one that cannot be read or predicted is a row with that `status`. What does
    come through is Ctrl-C, want of memory, and mistakes of the user's that concern all products.
    A photo that was missing and has come meanwhile is read again. Where the predictor fails, the
    `reporter` is told of the first time.
    """
    scorer = _Scorer(predictor, known, reporter)
    rows = scorer.score(shard.products, advance)
    is_missing = rows["status"] == PhotoProblem.MISSING.value
    missing = [shard.products[place] for place in is_missing.arg_true()]
    late = [product for product in missing if any(photo.exists() for photo in product.photos)]
    if late:
        rows = _in_order([rows, scorer.score(late, lambda _: None)], shard.products)
    return Scored(rows=rows, num_taken=scorer.num_taken)


class _Scorer:
    def __init__(self, predictor: Predictor, known: PreviousRows, reporter: Reporter) -> None:
        self.predictor = predictor
        self.known = known
        self.reporter = reporter
        self.num_taken = 0
        self.has_failed = False

    def score(self, products: Sequence[Product], advance: Advance) -> pl.DataFrame:
        batches = load_batches(
            products, self.predictor.preprocesses, is_known=self.known.has, reporter=self.reporter
        )
        scored = prefetch(self._predict_new, batches, num_workers=1, num_prefetched=_BATCHES_AHEAD)
        frames = []
        with closing(scored):
            for old, new, predictions in scored:
                frames += [self.known.take(old)] if old else []
                frames += [part_rows(new, predictions)] if predictions else []
                self.num_taken += len(old)
                advance(len(old) + len(new))
        return _in_order(frames, products)

    def _predict_new(
        self, batch: Sequence[Product]
    ) -> tuple[list[Product], Sequence[Product], Predictions | None]:
        """The batch's known products, the others, and predictions for these, if there are any."""
        old: list[Product] = []
        new: list[Product] = []
        for product in batch:
            (old if self.known.has(product) else new).append(product)
        predictions = self._predict(new) if new else None
        return old, [replace(product, pixels={}) for product in new], predictions

    def _predict(self, products: Sequence[Product]) -> Predictions:
        """Predict a batch; where that fails, one by one, so that only the culprits have failed."""
        try:
            return self.predictor.predict(products)
        except (FacetryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - a batch's boundary: recorded, and counted
            if len(products) > 1:
                return Predictions.concatenate([self._predict([each]) for each in products])
            return self._failed(products[0], error)

    def _failed(self, product: Product, error: Exception) -> Predictions:
        name, taxonomy = type(error).__name__, self.predictor.taxonomy
        if not self.has_failed and not product.problem:
            self.reporter.say(f"Product {product.id} failed: {name}: {first_line(error)}")
            self.has_failed = True
        failed = replace(product, problem=product.problem or f"{FAILED}{name}")
        nothing = np.zeros((1, taxonomy.num_slots, taxonomy.num_values), np.float32)
        return Predictions.of(taxonomy, [failed], nothing)


def _in_order(frames: Sequence[pl.DataFrame], products: Sequence[Product]) -> pl.DataFrame:
    """The rows of all frames in the products' order; of two for one product, the later."""
    rows = pl.concat(frames)
    ids = [product.id for product in products]
    if rows["id"].to_list() == ids:  # as they mostly are, and a copy costs memory
        return rows
    rows = rows.unique("id", keep="last", maintain_order=True)
    places = {each: place for place, each in enumerate(ids)}
    return rows[np.argsort([places[each] for each in rows["id"]])]
