"""Watches the precision of answers as they come: bounds that hold at any time, and a detector of drops.

Shapes: N answers, G grid of precisions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.threshold import DELTA

Floats = NDArray[np.float64]

HORIZON: Final = 3000
"""The number of answers in which a false alarm has the chance `delta` at most."""

MOST_ASKED: Final = 0.1
"""The share of the filled cells that people are asked about as long as little is known."""

LEAST_ASKED: Final = 0.01
"""The share that is asked about however good the answers were."""

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
    most = np.zeros_like(_GRID)
    for each in _most_capital(is_right, delta):
        most = each
    return _not_excluded(most, is_right, delta)


def bounds_over_time(is_right: NDArray[np.bool_], delta: float) -> list[Bounds]:
    """The bounds of `precision_bounds` after each of the answers (N).

    >>> [round(each.lower, 2) for each in bounds_over_time(np.ones(60, dtype=bool), 0.05)[::20]]
    [0.0, 0.72, 0.84]
    """
    capitals = enumerate(_most_capital(is_right, delta), start=1)
    return [_not_excluded(most, is_right[:count], delta) for count, most in capitals]


def _most_capital(is_right: NDArray[np.bool_], delta: float) -> Iterator[Floats]:
    """After each answer, the logarithm of the most capital that any bet against a precision (G) had."""
    above, below, most = (np.zeros_like(_GRID) for _ in range(3))
    for answer, bet in zip(is_right.astype(float), _bets(is_right, delta), strict=True):
        above += np.log1p(np.minimum(bet, _TRUNCATION / _GRID) * (answer - _GRID))
        below += np.log1p(-np.minimum(bet, _TRUNCATION / (1 - _GRID)) * (answer - _GRID))
        np.maximum(most, np.maximum(above, below), out=most)
        yield most


def _not_excluded(most: Floats, is_right: NDArray[np.bool_], delta: float) -> Bounds:
    """The interval of the precisions that are not excluded."""
    left = _GRID[most < log(2 / delta)]
    if not len(left):  # the answers changed so much that no one precision explains them
        mean = float(np.mean(is_right))
        return Bounds(lower=mean, upper=mean, num_answers=len(is_right))
    lower = 0.0 if left[0] == _GRID[0] else float(left[0])
    upper = 1.0 if left[-1] == _GRID[-1] else float(left[-1])
    return Bounds(lower=lower, upper=upper, num_answers=len(is_right))


def first_below(is_right: NDArray[np.bool_], target: float, delta: float) -> int | None:
    """How many answers it took until the upper bound fell below a precision; None if it never did.

    That is the bet of `precision_bounds` against this one precision from above.
    """
    bets = np.minimum(_bets(is_right, delta), _TRUNCATION / (1 - target))
    capital = np.log1p(-bets * (is_right - target)).cumsum()
    below = np.flatnonzero(capital >= log(2 / delta))
    return int(below[0]) + 1 if len(below) else None


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
    def of(cls, target: float, *, delta: float, horizon: int = HORIZON) -> "ChangeDetector":
        """The detector of a drop from `target` to twice the error rate, or to half of a low target."""
        bad = max(target / 2, 1 - 2 * (1 - target))
        return cls(good=target, bad=bad, limit=_least_limit(target, bad, delta, horizon))

    @property
    def steps(self) -> tuple[float, float]:
        """What an answer that is right adds to the sum, below 0, and what one that is wrong adds."""
        return _steps(self.good, self.bad)

    def sums(self, is_right: NDArray[np.bool_]) -> Floats:
        """The detector's sum after each answer (N)."""
        gain, loss = self.steps
        total = np.where(is_right, gain, loss).cumsum()
        return total - np.minimum(np.minimum.accumulate(total), 0)

    def first_alarm(self, is_right: NDArray[np.bool_]) -> int | None:
        """How many answers it took until the sum exceeded the limit; None if it never did."""
        above = np.flatnonzero(self.sums(is_right) > self.limit)
        return int(above[0]) + 1 if len(above) else None


def _steps(good: float, bad: float) -> tuple[float, float]:
    return log(bad / good), log((1 - bad) / (1 - good))


@cache
def _least_limit(good: float, bad: float, delta: float, horizon: int) -> float:
    """The least limit, to 0.02, that a sum exceeds with the chance `delta` within the horizon."""
    too_low, enough = 0.0, log(horizon / delta)  # a run exceeds a limit by chance exp(-limit), at most
    while enough - too_low > 0.02:
        middle = (too_low + enough) / 2
        if _chance_of_alarm(good, bad, middle, horizon) > delta:
            too_low = middle
        else:
            enough = middle
    return enough


def _chance_of_alarm(good: float, bad: float, limit: float, horizon: int) -> float:
    """The chance of an alarm within the horizon while the precision is `good`, or slightly above it.

    The sum is a Markov chain (Brook and Evans 1972), here on a grid on which it moves up too far rather
    than too little.
    """
    gain, loss = _steps(good, bad)
    step = max(-gain / 4, limit / 5000)
    down, up = int(-gain / step + 1e-9), ceil(loss / step)
    chances = np.zeros(int(limit / step) + 1)
    chances[0] = 1.0
    for _ in range(horizon):
        moved = np.zeros_like(chances)
        moved[: len(chances) - down] = good * chances[down:]
        moved[0] += good * chances[:down].sum()
        moved[up:] += (1 - good) * chances[: max(0, len(chances) - up)]
        chances = moved
    return float(1 - chances.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the answers about filled cells say of a promise of the precision `target`.

    `alarm` is the number of answers after which the promise was withdrawn; None while it is kept.
    """

    target: float
    bounds: Bounds
    num_right: int
    alarm: int | None
    is_uneasy: bool

    @property
    def num_answers(self) -> int:
        """How many answers there are."""
        return self.bounds.num_answers

    @property
    def share(self) -> float:
        """The share of the filled cells to ask about.

        It falls as the lower bound rises from the target to halfway between that and 1, and is back at
        its most while the detector is halfway to an alarm.
        """
        if self.is_uneasy:
            return MOST_ASKED
        safety = (self.bounds.lower - self.target) / ((1 - self.target) / 2)
        return MOST_ASKED - (MOST_ASKED - LEAST_ASKED) * min(1.0, max(0.0, safety))


def watch(is_right: NDArray[np.bool_], target: float, delta: float = DELTA) -> Watch:
    """Watch a promise by the answers (N), in the order in which they were given.

    It is withdrawn once the upper bound is below the target, or the detector alarms. Either happens to
    a promise that holds with the chance `delta / 2` at most: the former ever, the latter in `HORIZON`
    answers.
    """
    detector = ChangeDetector.of(target, delta=delta / 2)
    alarms = (first_below(is_right, target, delta), detector.first_alarm(is_right))
    sums = detector.sums(is_right)
    return Watch(
        target=target,
        bounds=precision_bounds(is_right, delta),
        num_right=int(is_right.sum()),
        alarm=min((each for each in alarms if each), default=None),
        is_uneasy=bool(len(sums)) and bool(sums[-1] > detector.limit / 2),
    )
