"""Effect sizes are the true ones, whatever the samples' sizes; chance alone is no effect."""

import numpy as np
import pytest

from facetry.confidence.drift.effects import (
    Estimate,
    Weightings,
    counts_effect,
    distribution_effect,
    mix_effect,
    ranking_effect,
    shared_categories,
)


def one_category(num_old: int, num_new: int, seed: int = 0) -> Weightings:
    return Weightings.of(np.zeros(num_old, np.int64), np.zeros(num_new, np.int64), seed)


@pytest.mark.parametrize("num_new", [100, 2000])
@pytest.mark.parametrize("moved", [0.2, 0.5])
def test_a_mix_moved_by_so_much(num_new: int, moved: float) -> None:
    rng = np.random.default_rng(1)
    old = rng.choice(3, 2000, p=[0.6, 0.3, 0.1])
    new = rng.choice(3, num_new, p=[0.6 - moved, 0.3, 0.1 + moved])
    found = mix_effect(np.concatenate([old, new]), 3, one_category(2000, num_new))
    assert found.size == pytest.approx(moved, abs=3 * found.error)
    assert found.error < 1 / np.sqrt(num_new)


@pytest.mark.parametrize("num_new", [100, 2000])
def test_a_distribution_moved_by_half_a_standard_deviation(num_new: int) -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(size=2000), rng.normal(0.5, size=num_new)])
    found = distribution_effect(values, one_category(2000, num_new))
    assert found.size == pytest.approx(0.197, abs=3 * found.error)


def test_equal_numbers_are_no_gap() -> None:
    """All numbers are 0 or 1: the gap lies between them, not inside a number."""
    values = np.array([0.0] * 50 + [1.0] * 50 + [1.0] * 50 + [0.0] * 50)
    found = distribution_effect(values, one_category(100, 100))
    assert found.size == 0


def test_a_ranking_is_judged_fold_by_fold() -> None:
    """Scores of different folds do not compare: here one fold's are all higher."""
    folds = np.tile([0, 1], 200)
    is_new = np.arange(400) >= 200
    perfect = ranking_effect(is_new + 10.0 * folds, folds, one_category(200, 200))
    assert perfect.size == pytest.approx(1, abs=0.01)
    blind = ranking_effect(
        np.random.default_rng(0).random(400) + 10 * folds, folds, one_category(200, 200)
    )
    assert blind.size < 0.15


def test_chance_alone_is_hardly_an_effect() -> None:
    """Without its correction, a mix of ten values of 30 products each would differ by 0.27."""
    sizes = []
    for seed in range(30):
        values = np.random.default_rng(seed).choice(10, 60)
        sizes.append(mix_effect(values, 10, one_category(30, 30, seed)).size)
    assert np.mean(sizes) < 0.12


def test_categories_weigh_as_in_the_new_sample() -> None:
    """One category's products are all 1, the other's all 0: another mix of them changes nothing."""
    old, new = np.repeat([0, 1], [300, 60]), np.repeat([0, 1], [60, 300])
    weightings = Weightings.of(old, new)
    values = np.concatenate([old, new]).astype(float)
    assert distribution_effect(values, weightings).size == 0
    assert np.allclose(weightings.old.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(weightings.new.sum(axis=1), 1, atol=1e-5)
    rows, within = weightings.within(1)
    assert len(rows) == 360
    assert np.allclose(within.old.sum(axis=1), 1, atol=1e-5)


def test_small_categories_are_not_compared() -> None:
    old, new = np.repeat([0, 1, 2], [40, 4, 40]), np.repeat([0, 1, 3], [5, 50, 90])
    assert shared_categories(old, new) == [0]
    assert set(Weightings.of(old, new).categories) == {0, -1}


@pytest.mark.parametrize(("counts", "size"), [([900, 100], 0.0), ([600, 400], 0.3), ([0, 1000], 0.9)])
def test_counts(counts: list[int], size: float) -> None:
    assert counts_effect([900, 100], counts).size == pytest.approx(size, abs=0.02)


def test_drift_is_what_lies_above_the_threshold_altogether() -> None:
    sure = Estimate(size=0.3, error=0.02).with_interval(0.2, num_estimates=10)
    assert (sure.is_drift, sure.is_unsure) == (True, False)
    unsure = Estimate(size=0.3, error=0.1).with_interval(0.2, num_estimates=10)
    assert (unsure.is_drift, unsure.is_unsure) == (False, True)
    small = Estimate(size=0.1, error=0.001).with_interval(0.2, num_estimates=10)
    assert (small.is_drift, small.is_unsure) == (False, False)
    assert sure.rank < unsure.rank
    one = Estimate(size=0.3, error=0.1).with_interval(0.2, num_estimates=1)
    assert (one.high - one.low) == pytest.approx(2 * 1.96 * 0.1, abs=1e-3)
