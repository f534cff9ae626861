"""Promises: arithmetic, ties, the same p-values through MAPIE, and how often they are broken."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binom

from facetry.confidence.threshold import find_threshold, least_labels, p_values, starts


@pytest.mark.parametrize(
    ("target", "delta", "num_errors", "expected"),
    [
        (0.95, 0.05, 0, 59),
        (0.95, 0.05, 1, 93),
        (0.95, 0.05, 2, 124),
        (0.90, 0.05, 0, 29),
        (0.95, 0.05 / 42, 0, 132),
        (0.90, 0.05 / 42, 0, 64),
    ],
)
def test_the_least_labels(target: float, delta: float, num_errors: int, expected: int) -> None:
    assert least_labels(target, delta, num_errors) == expected
    assert binom.cdf(num_errors, expected, 1 - target) <= delta
    assert binom.cdf(num_errors, expected - 1, 1 - target) > delta


@pytest.mark.parametrize(("num_labels", "is_promised"), [(58, False), (59, True)])
def test_without_an_error_59_labels_promise_95_percent(num_labels: int, is_promised: bool) -> None:
    confidence = np.linspace(0.9, 0.99, num_labels)
    found = find_threshold(confidence, np.ones(num_labels, dtype=bool), target=0.95)
    assert (found is not None) is is_promised
    assert found is None or (found.num_above, found.num_errors) == (59, 0)


def test_a_threshold_lies_between_different_confidences() -> None:
    """Thirty-five right answers tie with as many wrong ones: none of them can be promised."""
    confidence = np.full(70, 0.9)
    is_right = np.arange(70) < 35
    assert find_threshold(confidence, is_right, target=0.95) is None
    more = np.concatenate([np.full(60, 0.95), confidence])
    found = find_threshold(more, np.concatenate([np.ones(60, dtype=bool), is_right]), target=0.95)
    assert found is not None
    assert (found.confidence, found.num_above) == (0.95, 60)


def test_a_later_start_finds_a_head_whose_surest_cells_are_not_all_right() -> None:
    is_right = np.ones(400, dtype=bool)
    is_right[[3, 40]] = False
    found = find_threshold(np.linspace(1, 0.5, 400), is_right, target=0.95)
    assert found is not None
    assert found.num_above == 400


@pytest.mark.parametrize("num_labels", [0, 1, 58])
def test_too_few_labels_promise_nothing(num_labels: int) -> None:
    confidence = np.linspace(0.5, 1, num_labels)
    assert find_threshold(confidence, confidence > 0, target=0.95) is None


@pytest.mark.parametrize("num_labels", [80, 300, 1000])
@pytest.mark.parametrize("target", [0.9, 0.95])
def test_as_mapie_on_the_same_p_values(num_labels: int, target: float) -> None:
    fwer = pytest.importorskip("mapie.risk_control.fwer_control")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidence = rng.beta(6, 1, num_labels).round(2)  # with ties
        is_right = rng.random(num_labels) < confidence**0.3
        values, tests = p_values(confidence, is_right, target)
        counts = np.array([np.count_nonzero(confidence >= each) for each in values])
        begins = starts(num_labels, target, 0.05)
        firsts = [int(np.searchsorted(counts, each)) for each in begins]
        expected, level = -1, 0.0
        for first, end in pairwise([*firsts, len(tests)]):
            level += 0.05 / len(begins)
            if first < end:
                own = fwer.FWERFixedSequenceTesting(n_starts=1).run(tests[first:end], level)
                expected = max([expected, *(first + int(each) for each in own)])
                level = level if len(own) == end - first else 0.0
        found = find_threshold(confidence, is_right, target=target)
        assert (found.confidence if found else None) == (values[expected] if expected >= 0 else None)


def test_many_labels_are_not_lost_to_errors_among_the_surest() -> None:
    """Of 20,000 the surest hundred are as often wrong as not; the promise is about all."""
    is_right = np.arange(20_000) % 50 != 0
    is_right[:100:2] = False
    found = find_threshold(np.linspace(1, 0.5, 20_000), is_right, target=0.95)
    assert found is not None
    assert found.num_above == 20_000


def test_a_start_that_gets_to_the_next_adds_its_share() -> None:
    """Two starts for 150 labels: each alone allows no error at 144, both together do at 150."""
    assert len(starts(150, 0.95, 0.05)) == 2
    is_right = np.ones(150, dtype=bool)
    is_right[100] = False
    found = find_threshold(np.linspace(1, 0.5, 150), is_right, target=0.95)
    assert found is not None
    assert found.num_above == 150


def test_promises_are_broken_no_more_often_than_delta() -> None:
    """On an over-confident head, where a threshold chosen by the precision itself breaks most."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(5, 1, 20_000)
    is_right = rng.random(20_000) < confidence - 0.02
    num_runs, num_broken = 300, 0
    for _ in range(num_runs):
        drawn = rng.integers(0, 20_000, 300)
        found = find_threshold(confidence[drawn], is_right[drawn], target=0.9)
        if found:
            num_broken += is_right[confidence >= found.confidence].mean() < 0.9
    assert binom.sf(num_broken - 1, num_runs, 0.05) > 0.01
