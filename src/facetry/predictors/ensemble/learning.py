"""Learns the weights of an ensemble's members, from labels that no member was trained on.

Both kinds of weighting model the ensemble as a mixture: the probability of a label is the weighted mean
of the members' probabilities for it. They maximise its logarithm, summed over all labels, plus a prior
that pulls towards the fixed weights with the strength of `prior_labels` labels:

- weights by head: a Dirichlet prior with that many pseudo-labels, distributed like the fixed weights.
  A head with n labels gets (c + prior_labels * fixed) / (n + prior_labels), where c is the number of its
  labels that expectation maximisation assigns to each member (there is one optimum). A head without
  labels has the fixed weights, and one with few labels is close to them.
- a gate: an L2 penalty of prior_labels / 2 on its bias and slopes, which are 0 for the fixed weights.

Shapes: K known labels, M members, H heads, F signals, B products, A slots, V values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facetry.errors import NotEnoughData
from facetry.predictions import Predictions
from facetry.predictors.ensemble.predictor import Ensemble
from facetry.predictors.ensemble.weighting import (
    SIGNALS,
    Floats,
    Gate,
    HeadWeights,
    Indices,
    Weighting,
    log_weights,
    signals,
)
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import OFF_LIST

Learned = Literal["per_head", "gate"]

_NUM_STEPS = 1000  # at most; a few dozen are usual
_TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class _Evidence:
    """For known labels, the members' probabilities (K, M), the head (K) and the signals (K, M, F)."""

    likelihoods: Floats
    heads: Indices
    signals: Floats


def learn_weighting(
    ensemble: Ensemble,
    products: Sequence[Product],
    kind: Learned,
    *,
    prior_labels: float,
    reporter: Reporter = SILENT,
) -> Weighting:
    """Fit weights to the labels of `products`, on which no member may have been trained.

    Raises:
        NotEnoughData: the products have no label.
    """
    predicted = ensemble.predict_members(products, reporter=reporter, description="Weighing members")
    evidence = _gather(ensemble, predicted, products)
    if not len(evidence.heads):
        raise NotEnoughData(
            f"The weighting {kind!r} is learned from the validation part, which has no label.",
            hint="Give split.validation a share, or use weighting: fixed.",
        )
    fixed = ensemble.fixed.weights
    if kind == "per_head":
        return HeadWeights(_fit_heads(evidence, fixed, prior_labels, ensemble.taxonomy.num_heads))
    return _fit_gate(evidence, fixed, prior_labels)


def _gather(
    ensemble: Ensemble, predicted: Mapping[str, Predictions], products: Sequence[Product]
) -> _Evidence:
    """The members' predictions for each known label; labels with probability 0 are left out."""
    stacked = np.stack([predicted[name].probabilities for name in ensemble.members])  # M B A V
    codes = predicted[next(iter(ensemble.members))].category_codes
    labels = ensemble.taxonomy.encode_labels(products)
    is_known = (labels >= 0) & (labels != OFF_LIST) & (codes >= 0)[:, None]
    rows, slots = np.nonzero(is_known)
    answers = stacked[:, rows, slots].swapaxes(0, 1)  # K M V
    chosen = labels[rows, slots][:, None, None]
    likelihoods = np.take_along_axis(answers, chosen, axis=2)[..., 0].astype(np.float64)
    is_usable = likelihoods @ ensemble.fixed.weights > 0
    return _Evidence(
        likelihoods=likelihoods[is_usable],
        heads=ensemble.taxonomy.head_slots[codes[rows], slots][is_usable],
        signals=signals(answers[is_usable]),
    )


def _fit_heads(evidence: _Evidence, fixed: Floats, prior_labels: float, num_heads: int) -> Floats:
    """The most probable weights of each head (H, M)."""
    weights = np.tile(fixed, (num_heads, 1))
    num_labels = np.bincount(evidence.heads, minlength=num_heads)[:, None]
    for _ in range(_NUM_STEPS):
        responsibilities = weights[evidence.heads] * evidence.likelihoods  # K M
        responsibilities /= responsibilities.sum(axis=1, keepdims=True)
        counts = np.stack(
            [np.bincount(evidence.heads, member, num_heads) for member in responsibilities.T], axis=1
        )  # H M
        previous = weights
        weights = (counts + prior_labels * fixed) / (num_labels + prior_labels)
        if np.abs(weights - previous).max() < _TOLERANCE:
            break
    return weights


def _fit_gate(evidence: _Evidence, fixed: Floats, prior_labels: float) -> Gate:
    """The most probable gate that L-BFGS finds when started from the fixed weights."""
    import torch

    inputs = torch.from_numpy(evidence.signals)  # K M F
    log_likelihoods = torch.from_numpy(np.log(np.maximum(evidence.likelihoods, 1e-12)))  # K M
    start = torch.from_numpy(log_weights(fixed))
    learned = torch.zeros(len(fixed), 1 + len(SIGNALS), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [learned], max_iter=_NUM_STEPS, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = start + learned[:, 0] + (inputs * learned[:, 1:]).sum(dim=-1)
        mixed = torch.logsumexp(torch.log_softmax(logits, dim=1) + log_likelihoods, dim=1)
        penalty = prior_labels / 2 * learned.square().sum()
        value = (penalty - mixed.sum()) / len(mixed)
        value.backward()
        return value

    optimiser.step(loss)
    found = learned.detach().numpy()
    return Gate(weights=fixed, bias=found[:, 0], slopes=found[:, 1:])
