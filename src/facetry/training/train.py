"""From a classifier's recipe and a catalogue to a model folder.

While training runs everything lies in `OUT.partial`; when it is done that folder becomes `OUT`. So a
folder called OUT is finished, and the same command after an interruption goes on in `OUT.partial`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.images import NUM_DECODERS, Augmenter, PhotoStore
from facetry.models.backbones import build_backbone
from facetry.models.checkpoint import build_classifier, save_classifier
from facetry.models.classifier import Classifier
from facetry.models.config import ImageConfig
from facetry.models.device import compute_dtype, pick_device
from facetry.models.embed import embed_products
from facetry.product import Product
from facetry.progress import Reporter
from facetry.recipe import ClassifierRecipe
from facetry.training.cleaning import Cleaning, clean
from facetry.training.data import FeatureInputs, Inputs, PhotoInputs, line_up, useful_rows
from facetry.training.fit import Run, fit
from facetry.training.optimiser import build_optimiser
from facetry.training.state import STATE, TrainingState


def train_classifier(
    recipe: ClassifierRecipe, catalogue: Catalogue, split: Split, folder: Path, reporter: Reporter
) -> Classifier:
    """Train to the last epoch in `folder` (going on where it stopped) and write the best weights.

    Raises:
        BackboneError: a backbone or weights that cannot be had.
        TrainingError: nothing to train on, a loss that is not finite, a disk that is full.
    """
    device, state_folder = pick_device(), folder / "training"
    torch.manual_seed(recipe.seed)
    classifier = build_classifier(catalogue.taxonomy, recipe.backbone, recipe.heads, recipe.image).to(
        device
    )
    rows = useful_rows(catalogue, split)
    source = _read(recipe, classifier, catalogue.products(rows), state_folder, reporter)
    examples = line_up(catalogue, split, rows, source.problems)
    neighbours = _neighbours(recipe, classifier, source, state_folder, reporter)
    examples, cleaning = clean(examples, catalogue.taxonomy, recipe, neighbours, reporter)
    cleaning.save(state_folder)
    _tell(source, cleaning, reporter)
    run = Run(
        taxonomy=catalogue.taxonomy,
        config=recipe.training,
        seed=recipe.seed,
        examples=examples,
        inputs=source.inputs,
        device=device,
        folder=state_folder,
    )
    state = TrainingState(
        model=source.model,
        optimiser=build_optimiser(source.model, recipe.training),
        scaler=_scaler(recipe, device),
    )
    torch.manual_seed(recipe.seed)  # what was drawn until here depends on how the model is built
    if state.restore(state_folder):
        reporter.say(f"Going on after epoch {state.epoch} of {recipe.training.epochs}.")
    total = examples.num_per_epoch * (recipe.training.epochs - state.epoch)
    with reporter.bar("Training", total) as advance:
        fit(run, state, advance)
    source.model.load_state_dict(state.best_weights)
    save_classifier(folder, classifier)
    return classifier.eval()


def _tell(source: "_Source", cleaning: Cleaning, reporter: Reporter) -> None:
    if num_unreadable := sum(map(bool, source.problems)):
        reporter.say(
            f"{num_unreadable:,} of {len(source.products):,} products have no readable photo and are "
            "left out."
        )
    for sentence in cleaning.sentences:
        reporter.say(sentence)


_FEATURES = "features.safetensors"
_NEIGHBOURS = "neighbours.safetensors"
UNFINISHED = (STATE, _FEATURES, _NEIGHBOURS)
"""What only an unfinished training needs, in its folder `training`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """Products, what is fitted to them, its inputs, and why a photo cannot be read ("": it can).

    `features` (N, D) are there where they are the inputs.
    """

    products: Sequence[Product]
    model: nn.Module
    inputs: Inputs
    problems: Sequence[str]
    features: NDArray[np.float32] | None = None


def _read(
    recipe: ClassifierRecipe,
    classifier: Classifier,
    products: Sequence[Product],
    folder: Path,
    reporter: Reporter,
) -> _Source:
    """Photos for the whole classifier or, with a frozen backbone, their features for its heads."""
    if not recipe.backbone.frozen:
        preprocess = classifier.backbone.preprocess
        store = PhotoStore(products, preprocess, num_workers=NUM_DECODERS, reporter=reporter)
        augmenter = Augmenter(recipe.augment, recipe.seed)
        return _Source(
            products=products,
            model=classifier,
            inputs=PhotoInputs(store, augmenter, classifier.device),
            problems=[store.problems.get(row, "") for row in range(len(products))],
        )
    embedding = embed_products(classifier.backbone, products, file=folder / _FEATURES, reporter=reporter)
    return _Source(
        products=products,
        model=classifier.heads,
        inputs=FeatureInputs(torch.from_numpy(embedding.features).to(classifier.device)),
        problems=embedding.problems,
        features=embedding.features,
    )


def _neighbours(
    recipe: ClassifierRecipe,
    classifier: Classifier,
    source: _Source,
    folder: Path,
    reporter: Reporter,
) -> NDArray[np.float32] | None:
    """Features (N, D) that tell who is alike, None where the recipe asks for no neighbours."""
    if recipe.clean.neighbours == "none":
        return None
    own = recipe.clean.neighbour_backbone
    if own is None and source.features is not None:
        return source.features
    backbone = build_backbone(own, ImageConfig()).to(classifier.device) if own else classifier.backbone
    file = folder / _NEIGHBOURS
    return embed_products(backbone, source.products, file=file, reporter=reporter).features


def _scaler(recipe: ClassifierRecipe, device: torch.device) -> torch.amp.GradScaler:
    is_fp16 = compute_dtype(recipe.training.precision, device) == torch.float16
    return torch.amp.GradScaler(device.type, enabled=is_fp16)
