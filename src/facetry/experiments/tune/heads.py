"""Trials of heads on stored features: each trains the same heads as `facetry train` would.

Shapes: N products of training and validation part, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import read_split
from facetry.evaluation.held_out import HeldOut
from facetry.experiments.compare.rows import ComparisonInputs
from facetry.models.classifier.heads import build_heads
from facetry.models.towers.device import pick_device
from facetry.models.towers.embed import Embedding, embed_products
from facetry.models.towers.image import build_backbone
from facetry.recipe import ClassifierRecipe
from facetry.runtime.files import writing
from facetry.runtime.progress import SILENT, Reporter
from facetry.training.data import Examples, line_up, useful_rows
from facetry.training.stored_features import FeatureSet, fit_heads
from facetry.training.targets.cleaning import clean
from facetry.training.tracking.records import EpochRecord, StepRecord

_GENERATOR = "generator.safetensors"


def embed_catalogue(
    inputs: ComparisonInputs, recipe: ClassifierRecipe, file: Path, *, reporter: Reporter
) -> None:
    """Write the features of both parts to `file`, and next to it the state of the random generator.

    Raises:
        HeldOutLearned: the backbone comes from a model that learned from held-out products.
    """
    catalogue = inputs.catalogue()
    split = read_split(inputs.split, catalogue)
    HeldOut(catalogue=catalogue, split=split).refuse_donors(recipe.donors)
    rows = useful_rows(catalogue, split)
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, recipe.image)
    with writing(file.with_name(_GENERATOR)) as draft:
        save_file({"state": torch.get_rng_state()}, draft)
    backbone = backbone.to(pick_device())
    embed_products(backbone, catalogue.products(rows), file=file, reporter=reporter)


def score_heads(
    inputs: ComparisonInputs,
    recipe: ClassifierRecipe,
    file: Path,
    on_epoch: Callable[[int, float], None] | None,
) -> float:
    """Train heads; the best score on the validation part of all epochs, NaN if there is none."""
    catalogue, examples, embedding, generator = _inputs_of_trials(inputs, file)
    features = embedding.features if recipe.clean.neighbours != "none" else None
    examples, _ = clean(examples, catalogue.taxonomy, recipe.clean, features, SILENT)
    given = FeatureSet(
        taxonomy=catalogue.taxonomy,
        features=torch.from_numpy(embedding.features).to(pick_device()),
        examples=examples,
    )
    torch.set_rng_state(generator)
    heads = build_heads(catalogue.taxonomy, embedding.features.shape[1], recipe.heads)
    tracker = _EpochForwarder(on_epoch) if on_epoch else None
    fitted = fit_heads(given, heads, recipe.training, seed=recipe.seed, tracker=tracker)
    return fitted.score if fitted.score >= 0 else nan


@dataclass(frozen=True)
class _EpochForwarder:
    """A tracker that passes the score after each epoch to `on_epoch`."""

    on_epoch: Callable[[int, float], None]

    def log_step(self, record: StepRecord) -> None:
        """Ignore single steps."""

    def log_epoch(self, record: EpochRecord) -> None:
        self.on_epoch(record.epoch, record.score)

    def finish(self) -> None:
        """Nothing to close."""


@lru_cache(maxsize=1)  # a process trains many trials of one study
def _inputs_of_trials(
    inputs: ComparisonInputs, file: Path
) -> tuple[Catalogue, Examples, Embedding, Tensor]:
    """What all trials start from: catalogue, examples, features, state of the random generator."""
    catalogue = inputs.catalogue()
    split = read_split(inputs.split, catalogue)
    rows = useful_rows(catalogue, split)
    embedding = Embedding.load(file)
    examples = line_up(catalogue, split, rows, embedding.problems)
    return catalogue, examples, embedding, load_file(file.with_name(_GENERATOR))["state"]
