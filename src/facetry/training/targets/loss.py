"""The loss on what is to be learned: cross-entropy with dense targets, weighed as a recipe asks.

A target is a row over the values of a head. Its sum is the weight of that label, 0 where it is not
known; how it is spread says what the answer is. Smoothed, mixed and a teacher's labels are such rows
like any other.

Shapes: T training products, B products, C categories, A slots, H heads, V values.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from facetry.models.classifier.heads import precise
from facetry.taxonomy import Taxonomy
from facetry.training.config import LossConfig
from facetry.training.targets.balance import (
    Counts,
    Weights,
    balanced_weights,
    count_labels,
    effective_weights,
    head_weights,
)

_LOWEST = -1e30  # stands for -inf in padding, where 0 times it must be 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Criterion:
    """Makes targets of labels, and a loss of logits and targets; `of` builds one.

    Tables that are looked up by category or head have one row more, for none: -1.

    * `average` `head`: a label weighs `balance.head_weights`, so that each head counts equally, as in
      the score. With `label` all labels weigh 1.
    * `class_weights`: a label weighs `balance.balanced_weights` or `balance.effective_weights` on top.
    * `label_smoothing` s: the target is (1 - s) * own + s / k over the head's k values (Szegedy et al.
      2016, section 7).
    """

    config: LossConfig
    slots: Tensor  # C+1 A, the head of each; -1 where there is none
    weights: Tensor  # H+1 V
    uniform: Tensor  # H+1 V, one over the number of values; 0 in padding

    @classmethod
    def of(
        cls, config: LossConfig, taxonomy: Taxonomy, labels: Tensor, categories: Tensor
    ) -> "Criterion":
        """The criterion for training rows with these labels (T, A) and categories (T).

        Both are -1 where they are not known.
        """
        none = np.full((1, taxonomy.num_slots), -1)
        slots = np.concatenate([taxonomy.head_slots, none])  # C+1 A
        num_values = np.array([len(head.values) for head in taxonomy.heads] + [0])
        is_value = np.arange(taxonomy.num_values) < num_values[:, None]  # H+1 V
        heads = slots[categories.cpu().numpy()]
        counts = count_labels(heads, labels.cpu().numpy(), is_value.shape)
        uniform = is_value / np.maximum(num_values, 1)[:, None]
        return cls(
            config=config,
            slots=torch.from_numpy(slots),
            weights=_table(_weights(config, counts)),
            uniform=_table(uniform),
        )

    def targets(self, labels: Tensor, categories: Tensor, weights: Tensor | None = None) -> Tensor:
        """Targets (B, A, V) of labels (B, A), -1 where not known, where the labels are.

        `weights` (B, A), 0 or above, multiply the labels' own. `categories` (B) are best on the CPU.
        """
        heads = self.slots[categories.cpu()].to(labels.device)  # B A
        own = labels.clamp_min(0)[..., None]  # B A 1
        known = (labels >= 0) & (heads >= 0)
        mass = self.weights.to(labels.device)[heads].gather(2, own)[..., 0] * known  # B A
        if weights is not None:
            mass = mass * weights
        if smoothing := self.config.label_smoothing:
            rows = smoothing * self.uniform.to(labels.device)[heads]
        else:
            rows = torch.zeros(*labels.shape, self.weights.shape[1], device=labels.device)
        rows.scatter_add_(2, own, torch.full_like(own, 1 - smoothing, dtype=rows.dtype))
        return rows * mass[..., None]

    def weighed(self, answers: Tensor, categories: Tensor) -> Tensor:
        """Answers (B, A, V) that sum to 1, or to 0, times the mean weight of labels spread like them."""
        heads = self.slots[categories.cpu()].to(answers.device)
        means = (answers * self.weights.to(answers.device)[heads]).sum(dim=-1, keepdim=True)
        return answers * means

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The sum of all labels' losses, each times its weight; divide it by the mass of the targets."""
        return self.by_label(logits, targets).sum()

    def by_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each label's loss (B, A), times its weight.

        `logits` and `targets` (B, A, V); -inf in padding. Where a target is 0 there is neither loss nor
        gradient, and where all are 0 the loss is 0. Computed in single precision or better.
        """
        scores = precise(logits)
        # An infinite score of a value to learn is no padding: the loss is infinite, as it should be.
        padding = scores.isneginf() & (targets == 0)
        return -(targets * scores.masked_fill(padding, _LOWEST).log_softmax(dim=-1)).sum(dim=-1)


def _weights(config: LossConfig, counts: Counts) -> Weights:
    """What a label weighs, by head and value."""
    by_value = {"balanced": balanced_weights, "effective": effective_weights}
    weights = np.ones(counts.shape)
    if config.class_weights != "none":
        weights = by_value[config.class_weights](counts)
    return weights * head_weights(counts)[:, None] if config.average == "head" else weights


def _table(array: Weights) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
