"""Which products are shown as examples of the old and of the new sample.

Shapes: N products of a sample, n products of both samples, the old ones first.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.drift.features import distance_to_mean, strangeness
from facetry.confidence.drift.result import Examples
from facetry.confidence.drift.sample import Sample

NUM_EXAMPLES: Final = 6
"""Of each sample, for one thing that moved."""

NUM_STRANGE: Final = 12
"""Of each sample, for all together."""


def first_examples(rows: NDArray[np.int64], ranks: NDArray[np.floating], num_old: int) -> Examples:
    """Of some rows (n) of both samples those with the smallest ranks (n); never those of infinity."""
    ordered = rows[np.argsort(ranks, kind="stable")][: np.isfinite(ranks).sum()]
    is_new = ordered >= num_old
    return Examples(
        old=tuple(ordered[~is_new][:NUM_EXAMPLES].tolist()),
        new=tuple((ordered[is_new][:NUM_EXAMPLES] - num_old).tolist()),
    )


def strange_examples(old: Sample, new: Sample, shared: NDArray[np.integer]) -> Examples:
    """The new products most unlike the old ones, and the old ones most typical of `shared` categories.

    Without features: those that the predictor is least sure of, and most sure of.
    """
    if old.features is None or new.features is None:
        strange, far = -_mean_confidence(new), -_mean_confidence(old)
    else:
        strange = strangeness(new.features, new.categories, old.features, old.categories)
        far = distance_to_mean(old.features, old.categories)
    first = np.argsort(-strange, kind="stable")[:NUM_STRANGE]
    return Examples(old=_typical(old, far, shared), new=tuple(first.tolist()))


def _typical(old: Sample, far: NDArray[np.floating], shared: NDArray[np.integer]) -> tuple[int, ...]:
    """Rows of the products with the smallest distances, as many of each category."""
    per_category = -(-NUM_STRANGE // len(shared))
    chosen: list[int] = []
    for category in shared:
        rows = np.flatnonzero(old.categories == category)
        chosen += rows[np.argsort(far[rows], kind="stable")][:per_category].tolist()
    return tuple(chosen[:NUM_STRANGE])


def _mean_confidence(sample: Sample) -> NDArray[np.float32]:
    """The mean over a product's attributes (N)."""
    counts = np.maximum(1, (sample.top >= 0).sum(axis=1))
    means: NDArray[np.float32] = sample.confidence.sum(axis=1) / counts
    return means
