"""Compares a new sample of products with an old one: what moved, ranked by effect size.

Shapes: N products of both samples, the old ones first; n those of one category.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.drift.bars import (
    Bar,
    make_bars,
    range_bars,
    value_bars,
    value_shares,
)
from facetry.confidence.drift.effects import (
    Effect,
    Estimate,
    Weightings,
    counts_effect,
    distribution_effect,
    mix_effect,
    ranking_effect,
)
from facetry.confidence.drift.examples import first_examples, strange_examples
from facetry.confidence.drift.features import tell_apart
from facetry.confidence.drift.quality import QUALITIES
from facetry.confidence.drift.result import THRESHOLDS, Drift, Kind, Shift
from facetry.confidence.drift.sample import Sample
from facetry.errors import NotEnoughData
from facetry.taxonomy import Head

READABLE: Final = "readable photos"

MIN_PRODUCTS: Final = 30
"""So many products it takes in either sample, of a category for its answers, of all for the rest:
intervals of fewer hold too seldom."""

_CONFIDENCE_EDGES: Final = np.array([0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def compare(old: Sample, new: Sample) -> Drift:
    """Compare a new sample with an old one, both measured by the same model.

    Raises:
        NotEnoughData: the new products are too few, or no category has enough products in both.
    """
    comparison = _Comparison(old=old, new=new)
    comparison.require_enough()
    shifts = [
        *comparison.answers(),
        *comparison.photos(),
        comparison.readable(),
        *comparison.features(),
    ]
    shifts.sort(key=lambda each: each.effect.rank)
    return Drift(
        old=old,
        new=new,
        shifts=tuple(shifts),
        categories=comparison.category_bars(),
        left_out=comparison.left_out(),
        examples=strange_examples(old, new, comparison.shared),
    )


def compare_answers(old: Sample, new: Sample) -> list[Shift]:
    """Compare the answers alone, what moved most first: the photos of the samples are not looked at.

    Raises:
        NotEnoughData: as in `compare`.
    """
    comparison = _Comparison(old=old, new=new)
    comparison.require_enough()
    return sorted(comparison.answers(), key=lambda each: each.effect.rank)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Comparison:
    """The two samples with the weightings of their products."""

    old: Sample
    new: Sample

    def require_enough(self) -> None:
        """Refuse samples without enough products.

        Raises:
            NotEnoughData: says how many there are, and how many are needed.
        """
        num_compared = self.weightings.num_effective
        if num_compared < MIN_PRODUCTS:
            reasons = [f"{reason}: {count:,}" for reason, count in self.new.problems.most_common(3)]
            left_out = f" Left out: {', '.join(reasons)}." if reasons else ""
            raise NotEnoughData(
                f"The batch has {len(self.new):,} products, of which the reference's categories let "
                f"{num_compared:,} be compared; it takes at least {MIN_PRODUCTS}.{left_out}",
                hint="Collect a larger batch, or name a larger catalogue with --reference.",
            )

    @cached_property
    def weightings(self) -> Weightings:
        return Weightings.of(self.old.categories, self.new.categories)

    @cached_property
    def shared(self) -> NDArray[np.int64]:
        """The categories that are compared."""
        categories = self.weightings.categories
        return np.unique(categories[categories >= 0])

    @cached_property
    def answered(self) -> list[int]:
        """The categories with products enough to compare their answers."""
        return [
            each
            for each in self.shared.tolist()
            if min((sample.categories == each).sum() for sample in (self.old, self.new)) >= MIN_PRODUCTS
        ]

    @cached_property
    def has_features(self) -> bool:
        return self.old.features is not None and self.new.features is not None

    @cached_property
    def num_effects(self) -> int:
        """How many effects there are in all, on which the width of their intervals depends."""
        taxonomy = self.new.taxonomy
        heads = [taxonomy.heads_of(taxonomy.categories[each]) for each in self.answered]
        return 2 * sum(map(len, heads)) + len(QUALITIES) + 1 + self.has_features

    def effect(self, kind: Kind, estimate: Estimate) -> Effect:
        return estimate.with_interval(THRESHOLDS[kind], self.num_effects)

    def joined(self, name: str) -> NDArray[Any]:
        """A measure of the old and the new products."""
        return np.concatenate([getattr(self.old, name), getattr(self.new, name)])

    def answers(self) -> Iterator[Shift]:
        """The values and the confidence of every head of the categories with products enough."""
        taxonomy = self.new.taxonomy
        for category in self.answered:
            rows, weightings = self.weightings.within(category)
            for slot, head in enumerate(taxonomy.heads_of(taxonomy.categories[category])):
                if not head.values:
                    continue
                values = self.joined("top")[rows, slot].astype(np.int64)
                confidence = self.joined("confidence")[rows, slot]
                yield self._values(head, rows, weightings, values, confidence)
                yield self._confidence(head, rows, weightings, confidence)

    def _values(
        self,
        head: Head,
        rows: NDArray[np.int64],
        weightings: Weightings,
        values: NDArray[np.int64],
        confidence: NDArray[np.float32],
    ) -> Shift:
        """The mix of a head's values (n); the examples have the value that moved most."""
        shares = value_shares(values, len(head.values), weightings)
        moved = int(np.argmax(np.abs(shares[1] - shares[0])))
        ranks = np.where(values == moved, -confidence, np.inf)
        return Shift(
            kind="values",
            category=head.category,
            name=head.attribute,
            effect=self.effect("values", mix_effect(values, len(head.values), weightings)),
            subject=head.values[moved],
            old=float(shares[0][moved]),
            new=float(shares[1][moved]),
            bars=value_bars(head.values, shares),
            examples=first_examples(rows, ranks, len(self.old)),
        )

    def _confidence(
        self,
        head: Head,
        rows: NDArray[np.int64],
        weightings: Weightings,
        confidence: NDArray[np.float32],
    ) -> Shift:
        """The confidence (n) of a head's values; the examples are the ends towards which it moved."""
        old, new = (float(confidence @ each[0]) for each in (weightings.old, weightings.new))
        return Shift(
            kind="confidence",
            category=head.category,
            name=head.attribute,
            effect=self.effect("confidence", distribution_effect(confidence, weightings)),
            old=old,
            new=new,
            bars=range_bars(confidence, weightings, _CONFIDENCE_EDGES, "{:.0%}"),
            examples=first_examples(rows, confidence * np.sign(old - new), len(self.old)),
        )

    def photos(self) -> Iterator[Shift]:
        """The quality of the photos; the examples are those in the middle of each sample."""
        weightings = self.weightings
        rows = np.flatnonzero(weightings.categories >= 0)
        is_new = np.arange(len(weightings.categories)) >= len(self.old)
        for quality, numbers in zip(QUALITIES, self.joined("quality").T, strict=True):
            old, new = (weighted_median(numbers, each[0]) for each in (weightings.old, weightings.new))
            off = np.abs(numbers - np.where(is_new, new, old))
            yield Shift(
                kind="photos",
                name=quality.name,
                effect=self.effect("photos", distribution_effect(numbers, weightings)),
                old=old,
                new=new,
                bars=range_bars(numbers, weightings, style=quality.style),
                examples=first_examples(rows, off[rows], len(self.old)),
            )

    def readable(self) -> Shift:
        """The share of products with a photo that can be read."""
        counts = [(len(each), each.num_unreadable) for each in (self.old, self.new)]
        old, new = (readable / (readable + others) for readable, others in counts)
        shares = np.array([old, 1 - old]), np.array([new, 1 - new])
        return Shift(
            kind="photos",
            name=READABLE,
            effect=self.effect("photos", counts_effect(counts[0], counts[1])),
            old=old,
            new=new,
            bars=make_bars(["readable", "not readable"], shares),
        )

    def features(self) -> Iterator[Shift]:
        """How well a classifier tells the samples apart; the examples are those it is surest of."""
        if not self.has_features:
            return
        old, new = self.old.features, self.new.features
        assert old is not None
        assert new is not None
        scores, folds = tell_apart(old, new, self.weightings)
        rows = np.flatnonzero(folds >= 0)
        weightings = self.weightings.take(rows)
        estimate = ranking_effect(scores[rows], folds[rows], weightings)
        direction = np.where(rows >= len(self.old), -1, 1)
        yield Shift(
            kind="features",
            name="features",
            effect=self.effect("features", estimate),
            old=0.5,
            new=(1 + estimate.size) / 2,
            bars=range_bars(scores[rows], weightings, style="{:+.1f}"),
            examples=first_examples(rows, direction * scores[rows], len(self.old)),
        )

    def category_bars(self) -> tuple[Bar, ...]:
        """The categories' shares of all products."""
        names = self.new.taxonomy.categories
        old, new = (
            np.bincount(each.categories, minlength=len(names)) / max(1, len(each))
            for each in (self.old, self.new)
        )
        return make_bars(names, (old, new))

    def left_out(self) -> tuple[str, ...]:
        """The categories of new products whose answers are not compared."""
        found = np.setdiff1d(self.new.categories, self.answered)
        return tuple(self.new.taxonomy.categories[each] for each in found.tolist())


def weighted_median(numbers: NDArray[np.floating], weights: NDArray[np.floating]) -> float:
    """The number below which half of the weight is."""
    order = np.argsort(numbers, kind="stable")
    below = np.cumsum(weights[order])
    return float(numbers[order][np.searchsorted(below, below[-1] / 2)])
