"""Loss, gradient norm and speed of a step, or of all steps of an epoch so far.

Shapes: B products, A slots, C categories, H heads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facetry.runtime.memory import peak_rss_mib
from facetry.taxonomy import Head, Taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class StepStatistics:
    """Statistics that can be added: `sums` (H, 2) are those of the labels' losses and weights by head.

    `norms` is the sum of the gradient's norms, before clipping, of those `num_norms` steps where it is
    finite. Of the `seconds`, `waiting_s` were spent waiting for the products.
    """

    sums: Tensor = field(default_factory=lambda: torch.zeros(1, 2, dtype=torch.float64))
    norms: float = 0.0
    num_norms: int = 0
    num_products: int = 0
    waiting_s: float = 0.0
    seconds: float = 0.0

    def __add__(self, other: "StepStatistics") -> "StepStatistics":
        return StepStatistics(**{name: own + getattr(other, name) for name, own in vars(self).items()})

    def with_timing(self, num_products: int, *, waiting_s: float, seconds: float) -> "StepStatistics":
        """The statistics of a step, with its products and times."""
        return replace(self, num_products=num_products, waiting_s=waiting_s, seconds=seconds)

    @property
    def loss(self) -> float:
        """The mean loss of a label; 0 without labels."""
        losses, weights = self.sums.sum(dim=0).tolist()
        return float(losses / weights) if weights else float(losses)

    @property
    def gradient_norm(self) -> float:
        """The mean over the steps; NaN where no step's is finite."""
        return self.norms / self.num_norms if self.num_norms else math.nan

    def loss_by_head(self, taxonomy: Taxonomy) -> dict[Head, float]:
        """The mean loss of a label, for each head that has labels."""
        rows = zip(taxonomy.heads, self.sums.tolist(), strict=True)
        return {head: losses / weights for head, (losses, weights) in rows if weights}

    def speed(self) -> dict[str, float]:
        """The figures on time and memory in a record."""
        seconds = max(self.seconds, 1e-9)
        return {
            "photos_per_s": self.num_products / seconds,
            "waiting_share": self.waiting_s / seconds,
            "memory_mib": peak_memory_mib(),
        }

    def state_dict(self) -> dict[str, Any]:
        """What to save."""
        return dict(vars(self))

    @classmethod
    def from_state_dict(cls, content: Mapping[str, Any]) -> "StepStatistics":
        """What was saved."""
        return cls(**content)


def sum_by_head(taxonomy: Taxonomy, categories: Tensor, losses: Tensor, targets: Tensor) -> Tensor:
    """Sums (H, 2) of the labels' losses (B, A) and of their weights: targets (B, A, V) summed up."""
    heads = torch.from_numpy(np.maximum(taxonomy.head_slots, 0))[categories.cpu()]  # B A
    both = torch.stack([losses.detach(), targets.sum(dim=-1)], dim=-1).double()  # B A 2
    sums = both.new_zeros(taxonomy.num_heads, 2)
    return sums.index_add_(0, heads.flatten().to(both.device), both.flatten(0, 1))


def peak_memory_mib() -> float:
    """The most memory that was in use so far: of the GPU where there is one, else of this process."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_rss_mib()
