"""Weights of values and repeats of products, by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from facetry.training.data import epoch_order
from facetry.training.targets.balance import (
    balanced_weights,
    count_labels,
    effective_weights,
    head_weights,
    repeat_factors,
)

Weigh = Callable[[np.ndarray], np.ndarray]

# Head 0 is that of all products' first slot, head 1 and 2 those of the second.
HEADS = np.array([[0, 1], [0, 1], [0, 1], [0, 2], [0, 2], [0, -1]])
LABELS = np.array([[0, 0], [0, 0], [0, 3], [1, 1], [-1, 1], [0, -1]])


COUNTS = np.array([[4, 1, 0, 0], [2, 0, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]])


def test_labels_are_counted_by_head_and_value() -> None:
    assert np.array_equal(count_labels(HEADS, LABELS, (4, 4)), COUNTS)


@pytest.mark.parametrize("weigh", [balanced_weights, effective_weights])
def test_the_labels_of_a_head_weigh_1_on_average(weigh: Weigh) -> None:
    weights = weigh(COUNTS)
    assert (weights * COUNTS).sum(axis=1) == pytest.approx(COUNTS.sum(axis=1))
    assert (weights[COUNTS == 0] == 1).all()
    assert (weights[[0, 1], [1, 3]] > weights[[0, 1], [0, 0]]).all(), "the rarer value weighs more"


def test_every_value_of_a_head_weighs_the_same() -> None:
    # Head 0: 5 labels, 2 values that occur, 4 of one and 1 of the other. Head 1: 3 labels, 2 and 1.
    weights = balanced_weights(COUNTS)
    assert weights[0].tolist() == [5 / 8, 5 / 2, 1, 1]
    assert weights[1].tolist() == [3 / 4, 1, 1, 3 / 2]


def test_effective_numbers_are_those_of_the_paper() -> None:
    weights = effective_weights(COUNTS)
    beta = 4 / 5  # of head 0, which has 5 labels
    numbers = [(1 - beta**num_labels) / (1 - beta) for num_labels in (4, 1)]
    assert weights[0, 1] / weights[0, 0] == pytest.approx(numbers[0] / numbers[1])


def test_every_head_weighs_the_same() -> None:
    weights = head_weights(COUNTS)
    assert weights[:3] * COUNTS.sum(axis=1)[:3] == pytest.approx([10 / 3] * 3)
    assert weights[3] == 1


def test_a_product_is_repeated_for_its_rarest_value() -> None:
    factors = repeat_factors(HEADS, LABELS, 0.5)
    # Shares: 4/5 and 1/5 in head 0, 2/3 and 1/3 in head 1, 1 in head 2.
    assert factors == pytest.approx([1, 1, np.sqrt(0.5 * 3), np.sqrt(0.5 * 5), 1, 1])


def test_without_labels_there_are_no_weights() -> None:
    none = np.zeros((3, 2), dtype=int)
    for weights in (balanced_weights(none), effective_weights(none), head_weights(none)):
        assert (weights == 1).all()
    assert (repeat_factors(HEADS, np.full_like(LABELS, -1), 0.5) == 1).all()
    assert repeat_factors(HEADS[:0], LABELS[:0], 0.5).shape == (0,)


def test_an_epoch_shows_a_row_as_often_as_its_factor_says() -> None:
    rows = np.array([10, 20, 30, 40])
    factors = np.array([1.0, 1.25, 2.5, 1.0])  # 5.75: six a time, so each is shown 6 / 5.75 more
    orders = [epoch_order(rows, seed=1, epoch=epoch, factors=factors) for epoch in range(4000)]
    counts = np.array([[(order == row).sum() for row in rows] for order in orders])
    assert (counts.sum(axis=1) == 6).all()
    assert (counts >= 1).all()
    expected = factors * 6 / 5.75
    assert (counts >= np.floor(expected)).all()
    assert (counts <= np.ceil(expected)).all()
    assert counts.mean(axis=0) == pytest.approx(expected, abs=0.03)


def test_an_order_with_repeats_depends_on_seed_and_epoch() -> None:
    rows, factors = np.arange(50), np.linspace(1, 3, 50)
    first = epoch_order(rows, seed=3, epoch=0, factors=factors)
    assert np.array_equal(first, epoch_order(rows, seed=3, epoch=0, factors=factors))
    assert not np.array_equal(first, epoch_order(rows, seed=3, epoch=1, factors=factors))
    assert not np.array_equal(first, epoch_order(rows, seed=4, epoch=0, factors=factors))
    assert len(first) == 100


def test_factors_of_one_change_the_number_of_none() -> None:
    order = epoch_order(np.arange(33), seed=0, epoch=2, factors=np.ones(33))
    assert sorted(order) == list(range(33))
