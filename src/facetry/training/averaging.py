"""A moving average of the weights, which is often better than the weights of the last step."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

from facetry.training.sharding import load_part, own_part


class MovingAverage:
    """average = d * average + (1 - d) * weights after each step, d = min(decay, (1 + t) / (10 + t)).

    t counts the steps, so that the first ones, which know little, are soon forgotten (the warm-up of
    TensorFlow's ExponentialMovingAverage). Statistics of batch norms are averaged as weights are;
    counters are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.num_steps = 0
        self.weights = {name: each.detach().clone() for name, each in _tensors(model).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        self.num_steps += 1
        current = _tensors(self.model)
        floats = [name for name, each in current.items() if each.is_floating_point()]
        averages = [own_part(self.weights[name]) for name in floats]
        news = [own_part(current[name]) for name in floats]
        torch._foreach_lerp_(averages, news, 1 - decay)
        for name in current.keys() - floats:
            self.weights[name].copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights while the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, each in _tensors(self.model).items():
            mine, models = own_part(self.weights[name]), own_part(each)
            before = models.clone()
            models.copy_(mine)
            mine.copy_(before)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """What to save."""
        return {"num_steps": self.num_steps, "weights": self.weights}

    @torch.no_grad()
    def load_state_dict(self, content: dict[str, int | dict[str, Tensor]]) -> None:
        """Go back to what was saved."""
        num_steps, weights = content["num_steps"], content["weights"]
        assert isinstance(num_steps, int)
        assert isinstance(weights, dict)
        self.num_steps = num_steps
        for name, each in self.weights.items():
            load_part(each, weights[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a model learns and what it counts, by name."""
    return dict(chain(model.named_parameters(), model.named_buffers()))
