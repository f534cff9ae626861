"""The optimiser and its learning rates over time."""

import bisect
from collections.abc import Iterable

import torch
from torch import nn

from facetry.models.classifier import Classifier
from facetry.training.config import TrainingConfig


def build_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the backbone's and the heads' parameters; decay and betas hold for both.

    A model without a backbone (stored features) has one group, the heads'.
    """
    groups = [_group(model, config.heads_lr)]
    if isinstance(model, Classifier):
        groups = [_group(model.backbone, config.backbone_lr), _group(model.heads, config.heads_lr)]
    return torch.optim.AdamW(
        groups,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )


def _group(module: nn.Module, rate: float) -> dict[str, Iterable[nn.Parameter] | float]:
    return {"params": list(module.parameters()), "lr": rate, "initial_lr": rate}


def rate_factor(config: TrainingConfig, step: int, steps_per_epoch: int) -> float:
    """What both learning rates are multiplied with at a step: warm-up, then `gamma` per milestone.

    A function of the step alone, so there is no schedule state to save. Without warm-up it is
    torch's MultiStepLR by epoch.
    """
    passed = bisect.bisect_right(sorted(config.milestones), step // steps_per_epoch)
    warmup_steps = config.warmup_epochs * steps_per_epoch
    warmth = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return float(warmth * config.gamma**passed)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Apply a factor to every group's own rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
