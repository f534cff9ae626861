"""A sample of products with what is compared of them: predictions, features, quality of the photos.

Shapes: N products with a readable photo, A attributes (slots) of the category that has most, Q
qualities, D features.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.scan import collect
from facetry.confidence.drift.quality import measure_quality, small_copy
from facetry.images import load_batches
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy

MAX_PRODUCTS: Final = 2000
"""Products in a sample: with more, intervals would be narrower than any threshold asks for."""

UNKNOWN_CATEGORY: Final = "unknown category"


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What is measured of N products whose photo can be read and whose category is known.

    `categories` (N) are indices; `top` (N, A) and `confidence` (N, A) are those of `Predictions`;
    `features` (N, D) are None if the predictor gives none. `problems` counts the products that were
    left out, by reason. `facts` say in words where the products come from. `products` are empty if only
    measures were kept.
    """

    taxonomy: Taxonomy
    categories: NDArray[np.int16]
    top: NDArray[np.int16]
    confidence: NDArray[np.float32]
    quality: NDArray[np.float32]
    features: NDArray[np.float16] | None
    problems: Counter[str] = field(default_factory=Counter)
    facts: Mapping[str, str] = field(default_factory=dict)
    products: Sequence[Product] = ()

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def unknown(self) -> dict[str, int]:
        """How many products are of categories that the model does not have, by category."""
        found = self.problems.most_common()
        return {
            reason.removeprefix(UNKNOWN_CATEGORY).strip(" '\""): count
            for reason, count in found
            if reason.startswith(UNKNOWN_CATEGORY)
        }

    @property
    def num_unreadable(self) -> int:
        """How many products of known categories have no photo that can be read."""
        return self.problems.total() - sum(self.unknown.values())


def draw_products(
    catalogue: Catalogue, limit: int = MAX_PRODUCTS, rows: NDArray[np.int64] | None = None
) -> list[Product]:
    """So many products at most, drawn at random from the catalogue or from some of its `rows`.

    Only the drawn rows are held in memory, unless `rows` are given.
    """
    rng = np.random.default_rng(0)
    if rows is not None:
        drawn = rng.permutation(rows)[:limit]
        return catalogue.products(np.sort(drawn))
    numbers = collect(catalogue.scan.select("row"), catalogue.source.table)["row"].to_numpy()
    is_drawn = np.zeros(int(numbers.max(initial=0)) + 1, dtype=bool)
    is_drawn[rng.permutation(numbers)[:limit]] = True
    parts = replace(catalogue, streamed_rows=is_drawn).stream(limit)
    return [product for part in parts for product in part]


def measure(
    predictor: Predictor,
    products: Sequence[Product],
    *,
    facts: Mapping[str, str] | None = None,
    reporter: Reporter = SILENT,
    description: str = "Measuring",
) -> Sample:
    """Predict and measure products; each photo is decoded once, and let go of batch by batch."""
    form = small_copy(predictor.preprocesses)
    parts = []
    with reporter.bar(description, len(products)) as advance:
        for batch in load_batches(products, (*predictor.preprocesses, form), reporter=reporter):
            parts.append(_measure_batch(predictor, batch, form))
            advance(len(batch))
    parts = parts or [_measure_batch(predictor, (), form)]
    return replace(_join(parts), facts=facts or {})


def _measure_batch(predictor: Predictor, batch: Sequence[Product], form: Preprocess) -> Sample:
    predictions, features = _predict_and_embed(predictor, batch)
    kept = np.flatnonzero(predictions.readable)
    readable = [batch[row] for row in kept.tolist()]
    return Sample(
        taxonomy=predictions.taxonomy,
        categories=predictions.category_codes[kept].astype(np.int16),
        top=predictions.top[kept].astype(np.int16),
        confidence=predictions.confidence[kept],
        quality=measure_quality(readable, form),
        features=None if features is None else features[kept],
        problems=Counter(filter(None, predictions.problems)),
        products=[replace(each, pixels={}) for each in readable],
    )


def _predict_and_embed(
    predictor: Predictor, batch: Sequence[Product]
) -> tuple[Predictions, NDArray[np.float16] | None]:
    """Predictions, and features, of which packed bits are unpacked; None if there are no features."""
    if not isinstance(predictor, Embedder):
        return predictor.predict(batch), None
    predictions, found = predictor.predict_and_embed(batch)
    bits = np.unpackbits(found, axis=1) if found.dtype == np.uint8 else found
    return predictions, bits.astype(np.float16)


def _join(parts: Sequence[Sample]) -> Sample:
    def join(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    return Sample(
        taxonomy=parts[0].taxonomy,
        categories=join("categories"),
        top=join("top"),
        confidence=join("confidence"),
        quality=join("quality"),
        features=None if parts[0].features is None else join("features"),
        problems=sum((part.problems for part in parts), Counter()),
        products=[product for part in parts for product in part.products],
    )
