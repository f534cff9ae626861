"""Watches the precision of answers as they come: bounds that hold at any time, and a detector of drops.

Shapes: N answers, G grid of precisions.
"""

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_GRID: Final = np.linspace(0.001, 0.999, 999)
_TRUNCATION: Final = 0.5
"""The share of the largest bet that keeps the capital positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A confidence sequence's last interval, for a precision from 0 to 1, after `num_answers`."""

    lower: float
    upper: float
    num_answers: int


def precision_bounds(is_right: NDArray[np.bool_], delta: float) -> Bounds:
    """The bounds of the precision after all answers (N), valid at every number of answers at once.

    Bets against each precision m that it might be: the capital grows where the answers contradict it,
    and an m whose capital ever exceeds 1 / delta is excluded for good (Waudby-Smith and Ramdas 2023,
    "Estimating means of bounded random variables by betting", hedged capital with predictable plug-in
    bets). Half of delta is for either side.

    >>> bounds = precision_bounds(np.arange(400) % 20 != 0, 0.05)
    >>> bounds.lower < 0.95 < bounds.upper
    True
    """
    above, below = np.zeros_like(_GRID), np.zeros_like(_GRID)
    most_above, most_below = above.copy(), below.copy()
    for answer, bet in zip(is_right.astype(float), _bets(is_right, delta), strict=True):
        above += np.log1p(np.minimum(bet, _TRUNCATION / _GRID) * (answer - _GRID))
        below += np.log1p(-np.minimum(bet, _TRUNCATION / (1 - _GRID)) * (answer - _GRID))
        np.maximum(most_above, above, out=most_above)
        np.maximum(most_below, below, out=most_below)
    left = _GRID[(most_above < log(2 / delta)) & (most_below < log(2 / delta))]
    if not len(left):  # the answers changed so much that no one precision explains them
        mean = float(np.mean(is_right))
        return Bounds(lower=mean, upper=mean, num_answers=len(is_right))
    lower = 0.0 if left[0] == _GRID[0] else float(left[0])
    upper = 1.0 if left[-1] == _GRID[-1] else float(left[-1])
    return Bounds(lower=lower, upper=upper, num_answers=len(is_right))


def _bets(is_right: NDArray[np.bool_], delta: float) -> Floats:
    """How much to bet on each answer (N), from the answers before it alone."""
    answers = is_right.astype(np.float64)
    counts = np.arange(1, len(answers) + 1)
    means = (0.5 + answers.cumsum()) / (counts + 1)
    variances = (0.25 + ((answers - means) ** 2).cumsum()) / (counts + 1)
    earlier = np.concatenate([[0.25], variances[:-1]])
    return np.sqrt(2 * log(2 / delta) / (earlier * counts * np.log1p(counts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDetector:
    """A CUSUM of the log-likelihood ratio of a lower precision to the promised one (Page 1954).

    Good answers cannot store up credit, so that a drop after thousands of them is seen as soon as one
    at the start. `limit` is exceeded by chance at most `delta` times in `horizon` answers.
    """

    good: float
    bad: float
    limit: float

    @classmethod
    def of(cls, target: float, *, delta: float, horizon: int = 3000) -> "ChangeDetector":
        """The detector of a drop from `target` to twice the error rate, or to 1.

        The limit follows from the chance that the sum exceeds it from any one start, exp(-limit), times
        the number of starts: an answer that is right ends a run only by lowering the sum to 0.
        """
        bad = max(0.0, 1 - 2 * (1 - target))
        return cls(good=target, bad=bad, limit=log(horizon / delta))

    def sums(self, is_right: NDArray[np.bool_]) -> Floats:
        """The detector's sum after each answer (N)."""
        found, total = np.empty(len(is_right)), 0.0
        gain = log(self.bad / self.good) if self.bad else -np.inf
        loss = log((1 - self.bad) / (1 - self.good))
        for index, answer in enumerate(is_right):
            total = max(0.0, total + (gain if answer else loss))
            found[index] = total
        return found

    def first_alarm(self, is_right: NDArray[np.bool_]) -> int | None:
        """How many answers it took until the sum exceeded the limit; None if it never did."""
        above = np.flatnonzero(self.sums(is_right) > self.limit)
        return int(above[0]) + 1 if len(above) else None
