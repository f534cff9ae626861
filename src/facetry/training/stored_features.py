"""Heads trained on the stored features of a frozen backbone, once or fold by fold.

Fold by fold, each product gets its probabilities from heads that were not trained on it.

Shapes: N products, D features, F products of a fold, A slots, V values.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facetry.catalogue.catalogue import Catalogue
from facetry.models.classifier.heads import AnyHeads, build_heads, probabilities
from facetry.models.config import HeadsConfig
from facetry.models.towers.device import pick_device
from facetry.runtime.files import writing
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, FeatureInputs, Rows, in_batches
from facetry.training.loop import fit
from facetry.training.run import Run, start
from facetry.training.targets.loss import Criterion
from facetry.training.tracking.records import Tracker


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features (N, D) of a frozen backbone, on the device to train on, and their examples."""

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
    """Train new heads in place; equal arguments give equal weights, whatever was computed before.

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


MAX_BATCH, MIN_STEPS = 256, 16
"""The largest batch, unless an epoch would have fewer steps than this: then batches are smaller."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How heads are trained fold by fold; the best epoch is chosen by the rows of `validation`."""

    heads: HeadsConfig
    training: TrainingConfig
    seed: int = 0
    validation: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))


SMALL = Fitting(
    heads=HeadsConfig(hidden_dim=64, dropout=0.3),
    training=TrainingConfig(
        epochs=15, heads_lr=3e-3, weight_decay=0.05, milestones=(10, 13), batch_size=MAX_BATCH
    ),
)
"""Small heads and few epochs: larger ones memorise wrong labels, so that these look right."""

_NUM_PREDICTED = 4096


def out_of_fold(
    catalogue: Catalogue,
    features: NDArray[np.float32],
    folds: NDArray[np.integer],
    fitting: Fitting = SMALL,
    *,
    folder: Path | None = None,
    reporter: Reporter = SILENT,
) -> NDArray[np.float32]:
    """Each product's probabilities (N, A, V) from a model that has not seen its fold.

    `folds` (N) are -1 for products to leave out, which get zeros; so does a fold that has no product
    to train on outside. With a `folder` each finished fold is saved there, and a second call with the
    same arguments resumes.
    """
    is_used, num_epochs = folds >= 0, fitting.training.epochs
    inputs = torch.from_numpy(_standardised(features, is_used)).to(pick_device())
    shape = (len(folds), catalogue.taxonomy.num_slots, catalogue.taxonomy.num_values)
    result = np.zeros(shape, dtype=np.float32)
    codes = np.unique(folds[is_used]).tolist()
    num_shown = num_epochs * int(is_used.sum()) * max(0, len(codes) - 1)
    with reporter.bar("Learning fold by fold", num_shown) as advance:
        for fold in codes:
            inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(is_used & (folds != fold))
            file = folder / f"fold_{fold}.npy" if folder else None
            if file and file.is_file():
                result[inside] = np.load(file)
                advance(num_epochs * len(outside))
            elif len(outside):
                given = _feature_set(catalogue, inputs, outside, fitting.validation)
                result[inside] = _probabilities(given, _fitted(given, fitting, advance), inside)
                _save(result[inside], file)
    return result


def _standardised(features: NDArray[np.float32], is_used: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Features scaled to a mean of 0 and a standard deviation of 1, whatever the backbone's scale."""
    used = features[is_used]
    if not len(used):
        return features
    scaled: NDArray[np.float32] = (features - used.mean(axis=0)) / (used.std(axis=0) + 1e-6)
    return np.nan_to_num(scaled)


def _feature_set(catalogue: Catalogue, features: Tensor, train: Rows, validation: Rows) -> FeatureSet:
    examples = Examples(
        ids=catalogue.table["id"].to_list(),
        categories=torch.tensor(catalogue.category_codes),
        labels=torch.tensor(catalogue.labels, dtype=torch.int64),
        train=train,
        validation=validation,
    )
    return FeatureSet(taxonomy=catalogue.taxonomy, features=features, examples=examples)


def _fitted(given: FeatureSet, fitting: Fitting, advance: Advance) -> AnyHeads:
    most = max(1, len(given.examples.train) // MIN_STEPS)
    batch_size = min(fitting.training.batch_size, most)
    training = fitting.training.model_copy(update={"batch_size": batch_size})
    torch.manual_seed(fitting.seed)
    heads = build_heads(given.taxonomy, given.features.shape[1], fitting.heads)
    return fit_heads(given, heads, training, seed=fitting.seed, on_step=advance).heads


@torch.no_grad()
def _probabilities(given: FeatureSet, heads: AnyHeads, rows: Rows) -> NDArray[np.float32]:
    """Probabilities (F, A, V) of some rows."""
    parts = []
    for batch in in_batches(rows, _NUM_PREDICTED):
        index = torch.from_numpy(batch)
        logits = heads(given.features[index], given.examples.categories[index])
        parts.append(probabilities(logits).cpu().numpy())
    return np.concatenate(parts)


def _save(array: NDArray[np.float32], file: Path | None) -> None:
    if file:
        with writing(file) as draft, draft.open("wb") as stream:
            np.save(stream, array)
