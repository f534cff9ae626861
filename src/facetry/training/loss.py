"""The loss on known labels: cross-entropy, with weights and focus where a recipe asks for them.

Shapes: B products, A slots, V values, K known labels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from facetry.models.heads import precise

_LEAST_DOUBT = 1e-12  # keeps the slope of a power below 1 finite where an answer is certain


def known_loss(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, focal_gamma: float = 0.0
) -> Tensor:
    """Cross-entropy averaged over known labels (paper, section 6.3); `labels` (B, A), -1 unknown.

    With `weights` (B, A), above 0, it is the weighted mean: sum(w * loss) / sum(w). A `focal_gamma`
    above 0 multiplies each label's loss with (1 - p)^gamma, p being the probability of the label
    (Lin et al. 2017, formula 4). A batch without a known label has a loss of 0 and no gradient.
    """
    known = labels >= 0
    if not known.any():
        return logits.nan_to_num(neginf=0.0).sum() * 0
    own_logits, own_labels = precise(logits[known]), labels[known]  # K V, K
    if weights is None and not focal_gamma:
        return functional.cross_entropy(own_logits, own_labels)
    losses = functional.cross_entropy(own_logits, own_labels, reduction="none")  # K
    if focal_gamma:
        doubts = (-torch.expm1(-losses)).clamp_min(_LEAST_DOUBT)  # 1 - p
        losses = losses * doubts**focal_gamma
    if weights is None:
        return losses.mean()
    return (weights[known] * losses).sum() / weights[known].sum()
