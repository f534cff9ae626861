"""Effect sizes of the difference between two samples, with standard errors from resampling.

All are from 0, where the samples are alike, to 1, where they have nothing in common: the total
variation distance of two mixes, the Kolmogorov-Smirnov distance of two distributions, and 2 AUC - 1 of a
classifier that tells the samples apart.

Products are compared within their category: the old ones are weighted to have the categories in the
new ones' shares, so that another mix of categories alone changes nothing.

Shapes: N products, the old ones first; V values; K weightings: the observed one, R bootstrap resamples
of both samples, R permutations of old and new.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES: Final = 200
"""R: only means and standard deviations are taken of them, not their tails."""

MIN_PRODUCTS: Final = 5
"""A category with fewer in either sample is left out: it cannot be resampled, nor divided into folds."""

ALPHA: Final = 0.05
"""The chance that any of all intervals of a comparison lies off the true effect (Bonferroni)."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An effect size and its interval, all 0 to 1, and what is called drift above `threshold`."""

    size: float
    low: float
    high: float
    threshold: float

    @property
    def is_drift(self) -> bool:
        """Whether the whole interval lies above the threshold."""
        return self.low > self.threshold

    @property
    def is_unsure(self) -> bool:
        """Whether the effect is above the threshold, but might not be so among more products."""
        return self.size > self.threshold and not self.is_drift

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What to sort by: drift first, then by the size that is sure, then by that seen."""
        return not self.is_drift, -self.low, -self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An effect size and its standard error, before it is known how many there are."""

    size: float
    error: float

    def with_interval(self, threshold: float, num_estimates: int) -> Effect:
        """The effect with an interval that holds together with those of all other estimates."""
        width = NormalDist().inv_cdf(1 - ALPHA / 2 / num_estimates) * self.error
        return Effect(
            size=self.size,
            low=max(0.0, self.size - width),
            high=min(1.0, self.size + width),
            threshold=threshold,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Weightings:
    """Weights (K, N) that make the old and the new sample; those of a sample sum to 1.

    `categories` (N) are the products', those that cannot be compared -1 and of weight 0.
    """

    old: Floats
    new: Floats
    categories: NDArray[np.int64]

    @classmethod
    def of(cls, old: NDArray[np.integer], new: NDArray[np.integer], seed: int = 0) -> "Weightings":
        """Resample products with these categories (old and new N), each category for itself."""
        rng = np.random.default_rng(seed)
        categories = np.concatenate([old, new]).astype(np.int64)
        is_new = np.arange(len(categories)) >= len(old)
        shape = (1 + 2 * NUM_RESAMPLES, len(categories))
        weights = np.zeros((2, *shape), dtype=np.float32)
        shared = shared_categories(old, new)
        num_new = int(np.isin(new, shared).sum())
        for category in shared:
            rows = np.flatnonzero(categories == category)
            share = np.count_nonzero(is_new[rows]) / num_new
            weights[..., rows] = share * _resample(is_new[rows], rng)
        compared = np.where(np.isin(categories, shared), categories, -1)
        return cls(old=weights[0], new=weights[1], categories=compared)

    @property
    def num_effective(self) -> int:
        """How many products of equal weights the smaller sample is worth (Kish)."""
        sums = [float(np.square(each[0]).sum()) for each in (self.old, self.new)]
        return round(1 / max(sums)) if min(sums) else 0

    def take(self, rows: NDArray[np.int64], share: float = 1.0) -> "Weightings":
        """Those of some rows, which are `share` of the samples."""
        return Weightings(
            old=self.old[:, rows] / share,
            new=self.new[:, rows] / share,
            categories=self.categories[rows],
        )

    def within(self, category: int) -> tuple[NDArray[np.int64], "Weightings"]:
        """The rows of one category, and their weightings."""
        rows = np.flatnonzero(self.categories == category)
        return rows, self.take(rows, share=float(self.new[0, rows].sum()))


def shared_categories(old: NDArray[np.integer], new: NDArray[np.integer]) -> list[int]:
    """The categories with enough products in both samples."""
    counts = [dict(zip(*np.unique(each, return_counts=True), strict=True)) for each in (old, new)]
    return [
        int(category)
        for category in counts[1]
        if min(count.get(category, 0) for count in counts) >= MIN_PRODUCTS
    ]


def _resample(is_new: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Weights (2, K, n) of one category's products for the old and the new sample."""
    found = []
    flags = np.tile(is_new, (NUM_RESAMPLES, 1))
    permuted = rng.permuted(flags, axis=1)
    for own, shuffled in ((~is_new, ~permuted), (is_new, permuted)):
        size = np.count_nonzero(own)
        drawn = np.zeros((NUM_RESAMPLES, len(own)), dtype=np.float32)
        drawn[:, own] = rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES)
        found.append(np.concatenate([own[None], drawn, shuffled]) / size)
    return np.stack(found)


def mix_effect(values: NDArray[np.integer], num_values: int, weightings: Weightings) -> Estimate:
    """The total variation distance: the share of products that would need another value.

    `values` (N) are indices.
    """
    is_value = np.eye(num_values, dtype=np.float32)[values]  # N V
    difference = weightings.new @ is_value - weightings.old @ is_value  # K V
    return _estimate(np.abs(difference).sum(axis=1) / 2)


def distribution_effect(values: NDArray[np.floating], weightings: Weightings) -> Estimate:
    """The Kolmogorov-Smirnov distance of numbers (N): the largest gap of cumulative shares."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    is_last = np.append(ordered[1:] != ordered[:-1], True)  # of equal numbers
    gaps = np.cumsum((weightings.new - weightings.old)[:, order], axis=1, dtype=np.float64)
    return _estimate(np.abs(gaps[:, is_last]).max(axis=1))


def ranking_effect(
    scores: NDArray[np.floating], folds: NDArray[np.integer], weightings: Weightings
) -> Estimate:
    """2 AUC - 1 of scores (N), the mean over folds (N), whose scores do not compare."""
    found = np.zeros(len(weightings.old))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        order = rows[np.argsort(scores[rows], kind="stable")]
        old, new = weightings.old[:, order], weightings.new[:, order]
        below = np.cumsum(old, axis=1) - old / 2
        pairs = np.maximum(old.sum(axis=1) * new.sum(axis=1), 1e-12)
        found += (2 * (new * below).sum(axis=1) / pairs - 1) / len(np.unique(folds))
    return _estimate(found)


def counts_effect(old: Sequence[int], new: Sequence[int], seed: int = 0) -> Estimate:
    """The total variation distance of counts of the same things in the whole samples."""
    rng = np.random.default_rng(seed)
    counts = [np.array(each, dtype=np.float64) for each in (old, new)]
    pooled = (counts[0] + counts[1]) / (counts[0] + counts[1]).sum()

    def draw(each: NDArray[np.float64]) -> NDArray[np.float64]:
        total = int(each.sum())
        drawn = rng.multinomial(total, each / total, NUM_RESAMPLES)
        permuted = rng.multinomial(total, pooled, NUM_RESAMPLES)
        return np.concatenate([each[None], drawn, permuted]) / total

    return _estimate(np.abs(draw(counts[1]) - draw(counts[0])).sum(axis=1) / 2)


def _estimate(found: NDArray[np.floating]) -> Estimate:
    """The effect and its error from the statistics (K) of all weightings.

    Distances are above 0 by chance alone even between samples of one kind: what permutations have of it
    is taken off, as a square.
    """
    bootstrap, permuted = found[1 : NUM_RESAMPLES + 1], found[NUM_RESAMPLES + 1 :]
    chance = float(np.mean(np.square(permuted)))
    size = max(0.0, float(found[0])) ** 2 - chance
    return Estimate(size=max(0.0, size) ** 0.5, error=float(np.std(bootstrap)))
