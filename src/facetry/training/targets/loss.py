"""The training loss: cross-entropy with soft targets, weighted as the recipe says.

A target is a row over the values of a head. Its sum is the weight of the label, 0 where the label is
not known; divided by its sum it is the distribution to learn. Smoothed labels, mixed labels and a
teacher's answers are all such rows.

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

_LOWEST = -1e30  # replaces -inf in padding: 0 * -inf would be NaN


@dataclass(frozen=True, kw_only=True, eq=False)
class Criterion:
    """Makes targets from labels, and the loss from logits and targets; `of` builds one.

    Tables that are indexed by category or head end in an extra row, which the index -1 (none) selects.

    * `average` `head`: a label's weight is `balance.head_weights`, so that each head counts equally, as
      in the score. With `label` all weights are 1.
    * `class_weights`: multiplies by `balance.balanced_weights` or `balance.effective_weights`.
    * `label_smoothing` s: the target is (1 - s) * own + s / k over the head's k values (Szegedy et al.
      2016, section 7).
    """

    config: LossConfig
    heads: Tensor  # C+1 A, the head of each category's slots; -1 where there is none
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
        heads = np.concatenate([taxonomy.head_slots, none])  # C+1 A
        num_values = np.array([len(head.values) for head in taxonomy.heads] + [0])
        is_value = np.arange(taxonomy.num_values) < num_values[:, None]  # H+1 V
        counts = count_labels(heads[categories.cpu().numpy()], labels.cpu().numpy(), is_value.shape)
        uniform = is_value / np.maximum(num_values, 1)[:, None]
        return cls(
            config=config,
            heads=torch.from_numpy(heads),
            weights=_table(_weights(config, counts)),
            uniform=_table(uniform),
        )

    def targets(self, labels: Tensor, categories: Tensor, weights: Tensor | None = None) -> Tensor:
        """Targets (B, A, V) of labels (B, A), which are -1 where not known, on the labels' device.

        `weights` (B, A), 0 or above, multiply the weights of the recipe. `categories` (B) are looked up
        on the CPU, so they are best there.
        """
        heads = self.heads[categories.cpu()].to(labels.device)  # B A
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

    def weighted(self, answers: Tensor, categories: Tensor) -> Tensor:
        """Answers (B, A, V), rows that sum to 1 or 0, times the mean of their values' weights."""
        heads = self.heads[categories.cpu()].to(answers.device)
        means = (answers * self.weights.to(answers.device)[heads]).sum(dim=-1, keepdim=True)
        return answers * means

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of all labels' losses; divide it by the sum of the targets for the mean."""
        return self.by_label(logits, targets).sum()

    def by_label(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each label's loss (B, A), times its weight.

        `logits` and `targets` are (B, A, V), logits -inf in padding. A value whose target is 0 adds
        nothing to the loss; a label whose targets are all 0 has no loss and no gradient. Computed in
        single precision or better.
        """
        scores = precise(logits)
        # A -inf logit of a value with a target is no padding: the loss must become infinite.
        padding = scores.isneginf() & (targets == 0)
        return -(targets * scores.masked_fill(padding, _LOWEST).log_softmax(dim=-1)).sum(dim=-1)


def _weights(config: LossConfig, counts: Counts) -> Weights:
    """The weights of labels (H, V), by head and value."""
    by_value = {"balanced": balanced_weights, "effective": effective_weights}
    weights = np.ones(counts.shape)
    if config.class_weights != "none":
        weights = by_value[config.class_weights](counts)
    return weights * head_weights(counts)[:, None] if config.average == "head" else weights


def _table(array: Weights) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))
