"""The optimiser and its learning rates over time."""

import bisect
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from facetry.models.classifier.classifier import Classifier
from facetry.models.towers.blocks import tower_blocks
from facetry.training.config import TrainingConfig
from facetry.training.distributed.sharding import load_part, own_part


class MovingAverage:
    """average = d * average + (1 - d) * weights after each step, d = min(decay, (1 + t) / (10 + t)).

    t counts the steps, so that the weights of the first steps soon count little (the warm-up of
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
        """Add the model's weights after a step to the average."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        self.num_steps += 1
        current = _tensors(self.model)
        floats = [name for name, each in current.items() if each.is_floating_point()]
        averages = [own_part(self.weights[name]) for name in floats]
        latest = [own_part(current[name]) for name in floats]
        torch._foreach_lerp_(averages, latest, 1 - decay)
        for name in current.keys() - floats:
            self.weights[name].copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, each in _tensors(self.model).items():
            average, weight = own_part(self.weights[name]), own_part(each)
            before = weight.clone()
            weight.copy_(average)
            average.copy_(before)

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """What to save."""
        return {"num_steps": self.num_steps, "weights": self.weights}

    @torch.no_grad()
    def load_state_dict(self, content: dict[str, int | dict[str, Tensor]]) -> None:
        """Restore what was saved."""
        num_steps, weights = content["num_steps"], content["weights"]
        assert isinstance(num_steps, int)
        assert isinstance(weights, dict)
        self.num_steps = num_steps
        for name, each in self.weights.items():
            load_part(each, weights[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers by name."""
    return dict(chain(model.named_parameters(), model.named_buffers()))


def build_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay and betas are the same for all.

    The first group has the backbone's full rate, the last one the heads'. With `layer_decay` there is
    one group for each depth of the tower (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT). A text
    encoder has the backbone's full rate, whatever is above the encoders the heads'. A model without a
    backbone (stored features) has one group, the heads'.

    Raises:
        BackboneError: `layer_decay` for a tower whose blocks are not known.
    """
    groups = [_group(model.parameters(), config.heads_lr)]
    if isinstance(model, Classifier):
        groups = [
            *_backbone_groups(model, config),
            _group(model.top.parameters(), config.heads_lr),
        ]
    return torch.optim.AdamW(
        groups,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def _backbone_groups(model: Classifier, config: TrainingConfig) -> list[dict[str, Any]]:
    """One group for each learning rate, from the output down to the input."""
    tower, reader = model.backbone.tower, model.text_tower
    depths = tower_blocks(tower).depths if config.layer_decay < 1 else {}
    learning = [] if reader is None else [each for each in reader.parameters() if each.requires_grad]
    by_depth: dict[int, list[nn.Parameter]] = {0: learning}
    for name, parameter in tower.named_parameters():
        if parameter.requires_grad:
            by_depth.setdefault(depths.get(name, 0), []).append(parameter)
    return [
        _group(by_depth[depth], config.backbone_lr * config.layer_decay**depth)
        for depth in sorted(by_depth)
    ]


def _group(parameters: Iterable[nn.Parameter], rate: float) -> dict[str, Any]:
    learning = [each for each in parameters if each.requires_grad]
    return {"params": learning, "lr": rate, "initial_lr": rate}


def rate_factor(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """The factor on all learning rates at a step: warm-up first, then the schedule.

    A function of the step alone, so there is no schedule state to save. `steps` without warm-up is
    torch's MultiStepLR by epoch. `cosine` falls from where warm-up ends to 0 after the last step
    (Loshchilov and Hutter 2017, formula 5, without restarts).

    >>> config = TrainingConfig(schedule="cosine", epochs=2)
    >>> [round(rate_factor(config, step, 2), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    warmup_steps = config.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    if config.schedule == "cosine":
        left = max(1.0, config.epochs * steps_per_epoch - warmup_steps)
        share = min(1.0, max(0.0, step - warmup_steps) / left)
        return warmth * (1 + math.cos(math.pi * share)) / 2
    passed = bisect.bisect_right(sorted(config.milestones), step // steps_per_epoch)
    return float(warmth * config.gamma**passed)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Apply a factor to every group's own rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
