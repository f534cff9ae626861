"""Bounds that hold at any time, and a detector that long good runs do not blind."""

import numpy as np
import pytest

from facetry.confidence.stream import (
    ChangeDetector,
    bounds_over_time,
    first_below,
    precision_bounds,
    watch,
)


@pytest.mark.parametrize("precision", [0.5, 0.85, 0.95, 1.0])
@pytest.mark.parametrize("num_answers", [1, 30, 400])
def test_the_bounds_hold(precision: float, num_answers: int) -> None:
    misses = 0
    for seed in range(40):
        answers = np.random.default_rng(seed).random(num_answers) < precision
        bounds = precision_bounds(answers, 0.05)
        assert 0 <= bounds.lower <= bounds.upper <= 1
        misses += not bounds.lower - 1e-3 <= precision <= bounds.upper + 1e-3
    assert misses <= 5


def test_no_answers_say_nothing() -> None:
    bounds = precision_bounds(np.empty(0, dtype=bool), 0.05)
    assert (bounds.lower, bounds.upper, bounds.num_answers) == (0.0, 1.0, 0)


def test_the_interval_narrows() -> None:
    answers = np.random.default_rng(0).random(1000) < 0.9
    widths = [
        bounds.upper - bounds.lower
        for bounds in (precision_bounds(answers[:count], 0.05) for count in (50, 200, 1000))
    ]
    assert widths[0] > widths[1] > widths[2]


def test_false_alarms_are_rare() -> None:
    detector = ChangeDetector.of(0.95, delta=0.05)
    alarms = sum(
        detector.first_alarm(np.random.default_rng(seed).random(3000) < 0.95) is not None
        for seed in range(100)
    )
    assert alarms <= 10


@pytest.mark.parametrize("num_good", [0, 3000])
def test_a_drop_is_seen_as_soon_after_a_long_good_run(num_good: int) -> None:
    detector = ChangeDetector.of(0.95, delta=0.05)
    delays = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        good, bad = rng.random(num_good) < 0.97, rng.random(2000) < 0.85
        alarm = detector.first_alarm(np.concatenate([good, bad]))
        assert alarm is not None
        delays.append(alarm - num_good)
    assert np.median(delays) < 200


def test_the_upper_bound_is_below_the_target_from_the_first_time_on() -> None:
    answers = np.random.default_rng(0).random(400) < 0.85
    count = first_below(answers, 0.95, 0.05)
    assert count is not None
    uppers = [precision_bounds(answers[:each], 0.05).upper for each in (count - 1, count)]
    assert uppers[0] >= 0.949
    assert uppers[1] <= 0.951
    assert first_below(answers[: count - 1], 0.95, 0.05) is None


@pytest.mark.parametrize("target", [0.3, 0.5, 0.9, 0.99])
def test_no_limit_is_higher_than_the_chance_of_one_run_asks_for(target: float) -> None:
    detector = ChangeDetector.of(target, delta=0.05)
    assert 1 < detector.limit <= np.log(3000 / 0.05)
    good = np.random.default_rng(0).random((60, 3000)) < target
    assert sum(detector.first_alarm(each) is not None for each in good) <= 7


def test_fewer_are_asked_about_the_better_the_answers_were() -> None:
    good = np.ones(600, dtype=bool)
    shares = [watch(good[:count], 0.95).share for count in (0, 150, 250, 1000)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 0.1 > shares[2] > shares[3] == pytest.approx(0.01)


def test_more_are_asked_about_at_the_first_doubt() -> None:
    answers = np.concatenate([np.ones(600, dtype=bool), np.zeros(7, dtype=bool)])
    doubtful = watch(answers, 0.95)
    assert (doubtful.alarm, doubtful.share) == (None, 0.1)


def test_a_promise_that_is_withdrawn_stays_so() -> None:
    bad, good = np.arange(60) % 3 > 0, np.ones(3000, dtype=bool)
    assert watch(bad, 0.95).alarm == watch(np.concatenate([bad, good]), 0.95).alarm is not None


def test_a_promise_that_holds_is_rarely_withdrawn() -> None:
    num_streams, detector = 300, ChangeDetector.of(0.95, delta=0.025)
    streams = np.random.default_rng(0).random((num_streams, 3000)) < 0.95
    alarms = [first_below(each, 0.95, 0.05) or detector.first_alarm(each) for each in streams]
    assert sum(alarm is not None for alarm in alarms) <= 0.05 * num_streams


@pytest.mark.parametrize("precision", [0.0, 0.7, 1.0])
def test_the_bounds_over_time_are_those_after_each_answer(precision: float) -> None:
    is_right = np.random.default_rng(0).random(60) < precision
    expected = [precision_bounds(is_right[:count], 0.05) for count in range(1, 61)]
    assert bounds_over_time(is_right, 0.05) == expected
