"""The threshold above which a promised precision holds, by testing a fixed sequence.

Cells are accepted in the order of their confidence, from a count that is fixed before any outcome is
seen, while the exact binomial test rejects that the precision is below the target; the first test that
does not reject ends it (Angelopoulos et al. 2021, "Learn then Test", fixed-sequence procedure). Where
labels are many there are several such counts, each twice the one before, as what is surest of all may be
wrong more often than what comes next: each start has its share of `delta`, and one that gets as far as
the next passes its own on to it (the fallback procedure, Wiens 2003). With chance `delta` at most, the
precision above the threshold is below the target.

Shapes: N calibration cells, K different confidences, S starts.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.evaluation.metrics import by_confidence

Floats = NDArray[np.float64]

DELTA: Final = 0.05
"""The chance of a false promise that is accepted by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Cells of at least this `confidence` may be filled.

    Of the calibration cells `num_above` are, and of these `num_errors` are wrong.
    """

    confidence: float
    num_above: int
    num_errors: int


@cache
def least_labels(target: float, delta: float, num_errors: int = 0) -> int:
    """The least number of labels above a threshold, of which `num_errors` are wrong, for a promise.

    >>> [least_labels(0.95, 0.05, errors) for errors in (0, 1, 2)], least_labels(0.9, 0.05)
    ([59, 93, 124], 29)
    """
    too_few, enough = num_errors, num_errors + ceil(log(delta) / log(target))
    while _tail(num_errors, enough, 1 - target) > delta:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _tail(num_errors, middle, 1 - target) > delta:
            too_few = middle
        else:
            enough = middle
    return enough


def starts(num_labels: int, target: float, delta: float) -> list[int]:
    """From how many cells on to test (S), each start with the same share of `delta`.

    The first is the least that can pass with its share, each other one twice the one before.

    >>> starts(100, 0.95, 0.05), starts(1000, 0.95, 0.05)
    ([59], [86, 172, 344, 688])
    """
    num_starts = 1
    while least_labels(target, delta / (num_starts + 1)) << num_starts <= num_labels:
        num_starts += 1
    first = least_labels(target, delta / num_starts)
    return [first << index for index in range(num_starts)]


def find_threshold(
    confidence: Floats, is_right: NDArray[np.bool_], *, target: float, delta: float = DELTA
) -> Threshold | None:
    """The lowest threshold above which the promise holds; None if it holds above none.

    `confidence` (N) and `is_right` (N) are those of independent cells drawn at random. Thresholds lie
    between different confidences alone, so that cells which tie are filled together or not at all.
    """
    values, counts, right = by_confidence(confidence, is_right)
    chances = _tail(counts - right, counts, 1 - target)
    firsts = np.searchsorted(counts, starts(len(confidence), target, delta))
    passed = _last_accepted(chances, firsts, delta)
    if passed is None:
        return None
    return Threshold(
        confidence=float(values[passed]),
        num_above=int(counts[passed]),
        num_errors=int(counts[passed] - right[passed]),
    )


def p_values(confidence: Floats, is_right: NDArray[np.bool_], target: float) -> tuple[Floats, Floats]:
    """The different confidences (K), descending, and the p-value of each as a threshold (K)."""
    values, counts, right = by_confidence(confidence, is_right)
    chances: Floats = _tail(counts - right, counts, 1 - target)
    return values, chances


def _last_accepted(chances: Floats, firsts: NDArray[np.integer], delta: float) -> int | None:
    """The index of the last threshold that is accepted; None if none is.

    `chances` (K) are the tests' p-values, `firsts` (S) the indices to start from.
    """
    passed, level = None, 0.0
    for first, end in zip(firsts, [*firsts[1:], len(chances)], strict=True):
        level += delta / len(firsts)
        is_rejected = chances[first:end] > level
        num_accepted = int(is_rejected.argmax()) if is_rejected.any() else len(is_rejected)
        if num_accepted:
            passed = int(first) + num_accepted - 1
        if num_accepted < len(is_rejected):
            level = 0.0
    return passed


def _tail(errors: Any, counts: Any, error_rate: float) -> Any:
    """The chance of at most so many errors among so many cells, as numbers or arrays."""
    from scipy.stats import binom  # here, as it takes a second to import

    return binom.cdf(errors, counts, error_rate)
