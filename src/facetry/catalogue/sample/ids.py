"""How a split's products fall into categories, and the ids they get."""

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.sample.facts import SPLITS, CategoryFacts, load_facts

Indices = NDArray[np.int64]


def draw_ids(split: str, total: int, seed: int) -> list[tuple[CategoryFacts, Indices]]:
    """The categories of a split in the order of their ids, each with its sorted ids.

    Ids are a random subset of the category's range. When a range is too short for its products,
    all ranges of the split are stretched alike, so that they stay apart.
    """
    order = sorted(load_facts().values(), key=lambda each: each.splits[split].first_id)
    counts = apportion(total, [each.splits[split].rows for each in order])
    spans = [each.splits[split].last_id - each.splits[split].first_id + 1 for each in order]
    stretch = max(1, *(-(-count // span) for count, span in zip(counts, spans, strict=True)))
    rng = np.random.default_rng([seed, SPLITS.index(split), 0])
    drawn = []
    for facts, count, span in zip(order, counts, spans, strict=True):
        chosen = rng.choice(span * stretch, size=count, replace=False, shuffle=False)
        drawn.append((facts, np.sort(chosen) + facts.splits[split].first_id * stretch))
    return drawn


def apportion(total: int, weights: list[int]) -> list[int]:
    """Whole numbers in the weights' proportion that sum to `total` (largest remainders).

    >>> apportion(10, [1, 1, 2])
    [3, 2, 5]
    """
    exact = total * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = np.floor(exact).astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[place] += 1
    return [int(count) for count in counts]
