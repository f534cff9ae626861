"""Shares of old and new products, side by side.

Shapes: N products, V values, W ranges of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.drift.effects import Weightings

NUM_RANGES: Final = 8
"""W: as many as fit beside each other on a page."""

MAX_VALUES: Final = 8
"""Values with a bar of their own."""

Shares = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Of the old products and of the new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A value or a range of numbers, and its share of the old and of the new products."""

    name: str
    old: float
    new: float


def make_bars(names: Sequence[str], shares: Shares) -> tuple[Bar, ...]:
    """A bar for each name that has a share."""
    return tuple(
        Bar(name=name, old=float(old), new=float(new))
        for name, old, new in zip(names, *shares, strict=True)
        if old or new
    )


def value_shares(values: NDArray[np.integer], num_values: int, weightings: Weightings) -> Shares:
    """The share of each value (V) among values (N)."""
    old, new = (
        np.bincount(values, each[0], num_values).astype(np.float64)
        for each in (weightings.old, weightings.new)
    )
    return old, new


def value_bars(names: Sequence[str], shares: Shares) -> tuple[Bar, ...]:
    """Bars of the most frequent values, and one of all others together."""
    order = np.argsort(-np.maximum(*shares), kind="stable")
    shown, others = order[:MAX_VALUES], order[MAX_VALUES:]
    bars = make_bars([names[each] for each in shown], (shares[0][shown], shares[1][shown]))
    if not any(shares[0][others]) and not any(shares[1][others]):
        return bars
    sums = np.array([[each[others].sum()] for each in shares])
    return (*bars, *make_bars([f"{len(others)} other values"], (sums[0], sums[1])))


def range_bars(
    numbers: NDArray[np.floating],
    weightings: Weightings,
    edges: NDArray[np.floating] | None = None,
    style: str = "{:.2f}",
) -> tuple[Bar, ...]:
    """Bars of numbers (N) in the ranges between `edges` (W + 1), whose ends are written in `style`.

    Without edges the ranges are equally wide; what lies beyond is counted in the outer ones.
    """
    if edges is None:
        compared = numbers[weightings.categories >= 0]
        low, high = np.quantile(compared, [0.01, 0.99])
        edges = np.linspace(low, max(high, low + 1e-6), NUM_RANGES + 1)
    bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    ends = [style.format(edge) for edge in edges]
    names = [f"{low} to {high}" for low, high in pairwise(ends)]
    return make_bars(names, value_shares(bins, len(names), weightings))
