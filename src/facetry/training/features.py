"""Heads trained on stored features in one call, nothing kept on disk.

Shapes: N products, D features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facetry.models.shared_heads import AnyHeads
from facetry.progress import Advance
from facetry.taxonomy import Taxonomy
from facetry.tracking.records import Tracker
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, FeatureInputs
from facetry.training.fit import fit
from facetry.training.loss import Criterion
from facetry.training.run import Run
from facetry.training.start import start


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features (N, D) of a frozen backbone, on the device to train on, and what is known of them."""

    taxonomy: Taxonomy
    features: Tensor
    examples: Examples


@dataclass(frozen=True, kw_only=True)
class FittedHeads:
    """Heads with the best of their weights, ready to predict, and their score on the validation part.

    Without validation labels the weights are the last ones and the score is -1.
    """

    heads: AnyHeads
    score: float


def fit_heads(
    given: FeatureSet,
    heads: AnyHeads,
    training: TrainingConfig,
    *,
    seed: int = 0,
    on_step: Advance = lambda _: None,
    tracker: Tracker | None = None,
) -> FittedHeads:
    """Train new heads in place; the same arguments end in the same weights, whatever was done before.

    Raises:
        NonFiniteLoss: the loss became NaN or infinite.
    """
    device, train = given.features.device, torch.from_numpy(given.examples.train)
    run = Run(
        taxonomy=given.taxonomy,
        config=training,
        seed=seed,
        examples=given.examples,
        inputs=FeatureInputs(given.features),
        criterion=Criterion.of(
            training.loss, given.taxonomy, given.examples.labels[train], given.examples.categories[train]
        ),
        device=device,
        tracker=tracker,
    )
    state = start(run, heads.to(device))
    fit(run, state, on_step)
    heads.load_state_dict(state.best_weights)
    return FittedHeads(heads=heads.eval(), score=state.best_score)
