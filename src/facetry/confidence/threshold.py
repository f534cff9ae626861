"""The threshold above which a promised precision holds, by fixed-sequence testing.

Cells are accepted in the order of their confidence, from a count that is fixed before any outcome is
seen, while the exact binomial test rejects that the precision is below the target; the first test that
does not reject ends it (Angelopoulos et al. 2021, "Learn then Test", fixed-sequence procedure). With
chance `delta` at most, the precision above the threshold is below the target.

Shapes: N calibration cells, K different confidences.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil, log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DELTA: Final = 0.05
"""The chance of a false promise that is accepted by default."""

_SPARE: Final = 4
"""Errors that the second start leaves room for: a head whose surest cells are not all right."""


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


def starts(num_labels: int, target: float, delta: float) -> list[tuple[int, float]]:
    """From how many cells on to test, and with which share of `delta`.

    One start where the labels are too few for two: it has all of `delta`. Otherwise a second, after
    more cells, with half of it each: a head whose surest cells are not all right may pass there.

    >>> starts(100, 0.95, 0.05), starts(1000, 0.95, 0.05)
    ([(59, 0.05)], [(72, 0.025), (202, 0.025)])
    """
    second = least_labels(target, delta / 2, _SPARE)
    if num_labels < second:
        return [(least_labels(target, delta), delta)]
    return [(least_labels(target, delta / 2), delta / 2), (second, delta / 2)]


def find_threshold(
    confidence: Floats, is_right: NDArray[np.bool_], *, target: float, delta: float = DELTA
) -> Threshold | None:
    """The lowest threshold above which the promise holds; None if it holds above none.

    `confidence` (N) and `is_right` (N) are those of independent cells drawn at random. Thresholds lie
    between different confidences alone, so that cells which tie are filled together or not at all.
    """
    values, counts, errors = _cumulative(confidence, is_right)
    passed = -1
    for start, share in starts(len(confidence), target, delta):
        passed = max(passed, _last_accepted(counts, errors, start, 1 - target, share))
    if passed < 0:
        return None
    return Threshold(
        confidence=float(values[passed]), num_above=int(counts[passed]), num_errors=int(errors[passed])
    )


def p_values(confidence: Floats, is_right: NDArray[np.bool_], target: float) -> tuple[Floats, Floats]:
    """The different confidences (K), descending, and the p-value of each as a threshold (K)."""
    values, counts, errors = _cumulative(confidence, is_right)
    chances: Floats = _tail(errors, counts, 1 - target)
    return values, chances


def _cumulative(
    confidence: Floats, is_right: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The different confidences (K), descending, with the cells and the errors of at least each (K)."""
    values, inverse = np.unique(-confidence, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(values)).cumsum()
    errors = np.bincount(inverse, ~is_right, minlength=len(values)).cumsum()
    return -values, counts.astype(np.int64), errors.astype(np.int64)


def _last_accepted(
    counts: NDArray[np.int64], errors: NDArray[np.int64], start: int, error_rate: float, delta: float
) -> int:
    """The index of the last threshold before the first that fails, from `start` cells on; -1 if none."""
    first = int(np.searchsorted(counts, start))
    is_accepted: NDArray[np.bool_] = _tail(errors[first:], counts[first:], error_rate) <= delta
    num_accepted = len(is_accepted) if is_accepted.all() else int(is_accepted.argmin())
    return first + num_accepted - 1 if num_accepted else -1


def _tail(errors: Any, counts: Any, error_rate: float) -> Any:
    """The chance of at most so many errors among so many cells, as numbers or arrays."""
    from scipy.stats import binom  # here, as it takes a second to import

    return binom.cdf(errors, counts, error_rate)
