"""The loss: weights and focus do what their formulas say, and nothing where they are off."""

import math

import pytest
import torch
from torch.nn import functional

from facetry.training.loss import known_loss

# Two products, two slots, three values; the second slot has two values only.
LOGITS = torch.tensor(
    [[[2.0, 0.0, 1.0], [1.0, 0.0, -math.inf]], [[0.0, 0.0, 0.0], [0.5, 3.0, -math.inf]]]
)
LABELS = torch.tensor([[0, -1], [2, 1]])
WEIGHTS = torch.tensor([[2.0, 9.0], [0.5, 1.0]])


def own_losses() -> list[float]:
    """Minus the logarithm of each known label's probability, by hand."""
    first = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(1)))
    third = -math.log(math.exp(3) / (math.exp(0.5) + math.exp(3)))
    return [first, math.log(3), third]


def test_off_it_is_the_plain_mean_to_the_bit() -> None:
    known = LABELS >= 0
    expected = functional.cross_entropy(LOGITS[known], LABELS[known])
    assert torch.equal(known_loss(LOGITS, LABELS), expected)


def test_weights_make_a_weighted_mean_over_known_labels() -> None:
    first, second, third = own_losses()
    expected = (2 * first + 0.5 * second + 1 * third) / 3.5
    assert known_loss(LOGITS, LABELS, WEIGHTS).item() == pytest.approx(expected)
    assert known_loss(LOGITS, LABELS, 7 * WEIGHTS).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focus_lowers_what_is_answered_surely(gamma: float) -> None:
    focused = [(1 - math.exp(-each)) ** gamma * each for each in own_losses()]
    assert known_loss(LOGITS, LABELS, focal_gamma=gamma).item() == pytest.approx(sum(focused) / 3)
    expected = (2 * focused[0] + 0.5 * focused[1] + focused[2]) / 3.5
    assert known_loss(LOGITS, LABELS, WEIGHTS, focal_gamma=gamma).item() == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("values", [1, 2], ids=["a head with one value", "certain"])
def test_focus_has_a_slope_where_nothing_is_in_doubt(gamma: float, values: int) -> None:
    logits = torch.tensor([[[90.0, -90.0][:values]]], requires_grad=True)
    known_loss(logits, torch.tensor([[0]]), focal_gamma=gamma).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_without_a_known_label_there_is_no_loss_and_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = known_loss(logits, torch.full_like(LABELS, -1), WEIGHTS, focal_gamma=2.0)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()
