"""Stratified parts: groups whole, shares kept, every value everywhere, the same each time.

Shapes: N products, A slots, S sides.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facetry.catalogue.split.stratify import MIN_EXAMPLES, stratify

Labels = NDArray[np.int64]
USUAL = (0.8, 0.1, 0.1)
FIFTHS = (0.2,) * 5


def sparse_labels(num_products: int, num_heads: int, num_values: int, seed: int) -> Labels:
    """Labels with a long tail of values, about two in five missing (N, A)."""
    random = np.random.RandomState(seed)
    weights = 1 / np.arange(1, num_values + 1)
    values = random.choice(num_values, (num_products, num_heads), p=weights / weights.sum())
    values[random.random_sample(values.shape) < 0.4] = -1
    return np.where(values >= 0, values + num_values * np.arange(num_heads), -1)


def counts(labels: Labels, sides: NDArray[np.int8], num_sides: int) -> NDArray[np.int64]:
    """How often each value is on each side."""
    num_values = labels.max() + 1
    rows, slots = np.nonzero(labels >= 0)
    flat = labels[rows, slots] * num_sides + sides[rows]
    return np.bincount(flat, minlength=num_values * num_sides).reshape(num_values, num_sides)


def num_groups(labels: Labels, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """In how many groups each value occurs."""
    rows, slots = np.nonzero(labels >= 0)
    pairs = np.unique(np.column_stack([labels[rows, slots], groups[rows]]), axis=0)
    return np.bincount(pairs[:, 0], minlength=labels.max() + 1)


def check(labels: Labels, groups: NDArray[np.int64], shares: Sequence[float], seed: int) -> None:
    sides = stratify(labels, groups, shares, seed=seed)
    pairs = np.unique(np.column_stack([groups, sides]), axis=0)
    assert len(pairs) == len(np.unique(groups))
    off = np.bincount(sides, minlength=len(shares)) / len(sides) - shares
    assert np.abs(off).max() <= 0.01
    have = counts(labels, sides, len(shares))
    must = (have.sum(axis=1) >= MIN_EXAMPLES) & (num_groups(labels, groups) >= len(shares))
    assert (have[must] > 0).all()


@settings(max_examples=25, deadline=None)
@given(
    num_products=st.integers(300, 900),
    num_heads=st.integers(1, 8),
    num_values=st.integers(2, 10),
    group_share=st.sampled_from([0.5, 0.9, 5.0]),
    shares=st.sampled_from([USUAL, (0.7, 0.1, 0.2), (0.85, 0.15), FIFTHS]),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_whole_shares_kept_every_value_everywhere(
    num_products: int,
    num_heads: int,
    num_values: int,
    group_share: float,
    shares: tuple[float, ...],
    seed: int,
) -> None:
    labels = sparse_labels(num_products, num_heads, num_values, seed)
    groups = np.random.RandomState(seed).randint(int(group_share * num_products), size=num_products)
    check(labels, groups, shares, seed)


@pytest.mark.parametrize("shares", [USUAL, FIFTHS])
def test_values_are_far_more_even_than_by_chance(shares: tuple[float, ...]) -> None:
    labels = sparse_labels(2000, 6, 6, seed=0)

    def unevenness(sides: NDArray[np.int8]) -> float:
        have = counts(labels, sides, len(shares))
        return float(np.abs(have / have.sum(axis=1, keepdims=True) - shares).mean())

    chance = np.random.RandomState(0).choice(len(shares), 2000, p=shares).astype(np.int8)
    assert unevenness(stratify(labels, np.arange(2000), shares, seed=0)) < unevenness(chance) / 5


def test_a_value_with_ten_examples_is_on_every_side_of_a_small_share() -> None:
    labels = np.zeros((1000, 1), dtype=np.int64)
    labels[::100] = 1  # ten of a thousand: a side of 1% would get none of them
    have = counts(labels, stratify(labels, np.arange(1000), (0.98, 0.01, 0.01), seed=0), 3)
    assert have[1].tolist() == [8, 1, 1]


def test_large_groups_are_spread_too() -> None:
    groups = np.concatenate([np.repeat(np.arange(40), 5), np.arange(40, 240)])
    sides = stratify(np.zeros((400, 1), dtype=np.int64), groups, (0.5, 0.5), seed=0)
    assert np.bincount(sides[:200]).tolist() == [100, 100]


def test_a_group_larger_than_a_share_goes_where_there_is_room() -> None:
    groups = np.where(np.arange(100) < 60, 0, np.arange(100))
    sides = stratify(sparse_labels(100, 3, 4, seed=1), groups, USUAL, seed=0)
    assert np.bincount(sides).tolist() == [80, 10, 10]
    assert not sides[:60].any()


@pytest.mark.parametrize(
    ("labels", "shares", "expected"),
    [
        pytest.param(np.full((20, 2), -1), USUAL, [16, 2, 2], id="no labels"),
        pytest.param(np.zeros((20, 0), dtype=int), USUAL, [16, 2, 2], id="no heads"),
        pytest.param(np.zeros((20, 1), dtype=int), (0.5, 0, 0.5), [10, 0, 10], id="a share of nothing"),
        pytest.param(np.arange(20)[:, None], USUAL, [16, 2, 2], id="each value once"),
        pytest.param(np.zeros((3, 1), dtype=int), USUAL, [1, 1, 1], id="as many products as sides"),
        pytest.param(np.zeros((20, 1), dtype=int), (1.0,), [20], id="one side"),
        pytest.param(np.full((20, 1), 2**40), (0.5, 0.5), [10, 10], id="large codes"),
    ],
)
def test_odd_tables(labels: Labels, shares: tuple[float, ...], expected: list[int]) -> None:
    sides = stratify(labels, np.arange(len(labels)), shares, seed=0)
    assert np.bincount(sides, minlength=len(shares)).tolist() == expected


def test_the_seed_decides_and_the_names_of_groups_do_not() -> None:
    labels, groups = sparse_labels(400, 4, 5, seed=2), np.random.RandomState(2).randint(300, size=400)
    first, again, other = (stratify(labels, groups, USUAL, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(first, stratify(labels, -7 * groups, USUAL, seed=0))


def test_nothing_that_goes_in_is_changed() -> None:
    labels, groups = sparse_labels(100, 4, 5, seed=3), np.arange(100)
    before = labels.copy()
    stratify(labels, groups, USUAL, seed=0)
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(groups, np.arange(100))
