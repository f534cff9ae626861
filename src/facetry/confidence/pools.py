"""Which heads promise together, decided by counts of labels alone, and what each pool can promise.

A promise of a head needs dozens of labels above its threshold. Heads that have too few promise together
with those of their category, and what is still too few with all of the catalogue: such a promise says
nothing of one head.

Shapes: H heads.
"""

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence
from facetry.confidence.fit import categories_of_heads
from facetry.confidence.threshold import DELTA, Threshold, find_threshold, least_labels
from facetry.taxonomy import Taxonomy

_PRIOR_CELLS: Final = 10
"""How many labels the confidence counts as where it is asked how many more are needed."""

_MIN_ABOVE: Final = 10
_MAX_ERRORS: Final = 100

Level = Literal["head", "category", "catalogue"]

MIN_COVERAGE: Final = 0.5
"""A pool needs labels enough for a promise if its threshold leaves this share above itself."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Heads, by index, whose cells share one threshold; `name` is how it is shown."""

    level: Level
    name: str
    heads: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a pool can promise; without a `threshold`, nothing.

    `num_labels` counts the independent labels behind it, `num_missing` how many more, drawn at random,
    would probably do: None if the pool's most confident cells are not right often enough.
    """

    pool: Pool
    target: float
    delta: float
    num_labels: int
    threshold: Threshold | None
    num_missing: int | None

    @property
    def coverage(self) -> float:
        """The share of the calibration cells that are above the threshold."""
        return self.threshold.num_above / self.num_labels if self.threshold else 0.0


def make_pools(taxonomy: Taxonomy, num_labels: NDArray[np.int64], least: int) -> list[Pool]:
    """Put all heads into pools of at least `least` labels; the last pool may have fewer.

    `num_labels` (H) counts independent labels.
    """
    names = [head.name for head in taxonomy.heads]
    alone = [int(head) for head in np.flatnonzero(num_labels >= least)]
    pools = [Pool(level="head", name=names[head], heads=(head,)) for head in alone]
    rest: list[int] = []
    categories = categories_of_heads(taxonomy)
    for index, category in enumerate(taxonomy.categories):
        left = [int(head) for head in np.flatnonzero((categories == index) & (num_labels < least))]
        if not left:
            continue
        if num_labels[left].sum() >= least:
            is_whole = len(left) == np.count_nonzero(categories == index)
            name = category if is_whole else f"{category}, {len(left)} others"
            pools.append(Pool(level="category", name=name, heads=tuple(left)))
        else:
            rest += left
    if rest:
        pools.append(
            Pool(level="catalogue", name="all others" if pools else "all heads", heads=tuple(rest))
        )
    return pools


def promise_all(
    taxonomy: Taxonomy,
    evidence: Evidence,
    target: float,
    *,
    delta: float = DELTA,
    is_simultaneous: bool = False,
) -> list[Promise]:
    """The promises of all heads: those of heads alone, of categories, of the catalogue.

    With `is_simultaneous`, delta is the chance that any of the promises is false, not each
    (Bonferroni).
    """
    num_labels = evidence.counts(taxonomy.num_heads)
    pools, delta = divide(taxonomy, num_labels, target, delta, is_simultaneous=is_simultaneous)
    promises = [_promise(evidence.of_heads(pool.heads), pool, target, delta) for pool in pools]
    levels = get_args(Level)
    return sorted(promises, key=lambda each: (levels.index(each.pool.level), each.pool.heads))


def best_target(
    taxonomy: Taxonomy, evidence: Evidence, *, delta: float = DELTA, is_simultaneous: bool = False
) -> tuple[float, Pool] | None:
    """The highest precision, in steps of 0.01, that anything can promise, and what; None if nothing can.

    Each precision has pools of its own, as it needs labels of its own number.
    """
    num_labels = evidence.counts(taxonomy.num_heads)
    for target in (percent / 100 for percent in range(99, 49, -1)):
        pools, own_delta = divide(taxonomy, num_labels, target, delta, is_simultaneous=is_simultaneous)
        for pool in pools:
            own = evidence.of_heads(pool.heads)
            if pool_threshold(own, target, own_delta):
                return target, pool
    return None


def divide(
    taxonomy: Taxonomy,
    num_labels: NDArray[np.int64],
    target: float,
    delta: float,
    *,
    is_simultaneous: bool,
) -> tuple[list[Pool], float]:
    """The pools of a target, and the chance of a false promise that each of them may take.

    `num_labels` (H) counts independent labels.
    """
    pools = make_pools(taxonomy, num_labels, _enough(target, delta))
    if is_simultaneous:
        delta /= len(pools)
        pools = make_pools(taxonomy, num_labels, _enough(target, delta))
    return pools, delta


def _promise(evidence: Evidence, pool: Pool, target: float, delta: float) -> Promise:
    threshold = pool_threshold(evidence, target, delta)
    return Promise(
        pool=pool,
        target=target,
        delta=delta,
        num_labels=len(evidence),
        threshold=threshold,
        num_missing=None if threshold else _num_missing(evidence, target, delta),
    )


def pool_threshold(evidence: Evidence, target: float, delta: float) -> Threshold | None:
    """The threshold of a pool; None if the cells above it are of fewer products than a promise needs.

    Cells of one product are not independent: where the photo is a bad one, all of them are wrong.
    """
    found = find_threshold(evidence.confidence, evidence.is_right, target=target, delta=delta)
    if found is None:
        return None
    num_products = len(np.unique(evidence.groups[evidence.confidence >= found.confidence]))
    return found if num_products >= least_labels(target, delta) else None


def _enough(target: float, delta: float) -> int:
    """The labels that a pool needs if `MIN_COVERAGE` of its cells are above its threshold."""
    return ceil(least_labels(target, delta) / MIN_COVERAGE)


def _num_missing(evidence: Evidence, target: float, delta: float) -> int | None:
    """How many more labels would probably do; None if no number would.

    For each share of the pool, the surest cells first: as many labels as a promise needs if they are
    right as often as the labels so far say, helped by the confidence where these are few.
    """
    if not len(evidence):
        return _enough(target, delta)
    least = ceil(len(evidence) / 4)  # fewer would hardly change what these did not do
    order = np.argsort(-evidence.confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    errors = (~evidence.is_right[order]).cumsum()
    expected = 1 - evidence.confidence[order].cumsum() / counts
    rates = (errors + _PRIOR_CELLS * expected) / (counts + _PRIOR_CELLS)
    needed = [_needed(float(rate), target, delta) for rate in rates]
    totals = [
        count * len(evidence) / above
        for count, above in zip(needed, counts, strict=True)
        if count and above >= _MIN_ABOVE
    ]
    return max(least, ceil(min(totals)) - len(evidence)) if totals else None


def _needed(error_rate: float, target: float, delta: float) -> int | None:
    """The labels above a threshold at which a promise is as likely as not; None if there are no such."""
    for num_errors in range(_MAX_ERRORS):
        count = least_labels(target, delta, num_errors)
        if error_rate * count <= num_errors + 0.5:
            return count
    return None
