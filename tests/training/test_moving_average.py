"""The moving average of weights."""

import pytest
import torch
from torch import nn

from facetry.training.optimiser import MovingAverage


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def walk(model: nn.Module, average: MovingAverage, num_steps: int) -> list[torch.Tensor]:
    """Weights step by step: each is the number of its step."""
    weight = model[0].weight
    for step in range(num_steps):
        with torch.no_grad():
            weight.fill_(step + 1)
            model[1].running_mean.fill_(step + 1)
            model[1].num_batches_tracked.fill_(step + 1)
        average.update()
    return weight


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.999])
def test_it_is_the_formula(decay: float) -> None:
    model = make_model()
    with torch.no_grad():
        model[0].weight.fill_(0)
        model[1].running_mean.fill_(0)
    average = MovingAverage(model, decay)
    walk(model, average, 5)
    expected = 0.0
    for step in range(5):
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * (step + 1)
    for name in ("0.weight", "1.running_mean"):
        torch.testing.assert_close(
            average.weights[name], torch.full_like(average.weights[name], expected)
        )
    assert average.weights["1.num_batches_tracked"] == 5


def test_the_model_has_the_average_within_the_context() -> None:
    model = make_model()
    average = MovingAverage(model, 0.9)
    walk(model, average, 3)
    own = {name: each.clone() for name, each in model.state_dict().items()}
    expected = {name: each.clone() for name, each in average.weights.items()}
    with average.applied():
        assert all(torch.equal(expected[name], each) for name, each in model.state_dict().items())
    assert all(torch.equal(own[name], each) for name, each in model.state_dict().items())
    assert not torch.equal(own["0.weight"], expected["0.weight"])


def test_it_can_be_saved() -> None:
    model, other = make_model(), make_model()
    average, restored = MovingAverage(model, 0.9), MovingAverage(other, 0.9)
    walk(model, average, 4)
    restored.load_state_dict(average.state_dict())
    other.load_state_dict(model.state_dict())
    for each in (average, restored):
        each.update()
    assert all(torch.equal(average.weights[name], restored.weights[name]) for name in average.weights)
