"""From a classifier's recipe and a catalogue to a model folder.

While training runs everything lies in `OUT.partial`; when it is done that folder becomes `OUT`. So a
folder called OUT is finished, and the same command after an interruption goes on in `OUT.partial`.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.files import writing
from facetry.images import Augmenter
from facetry.models.checkpoint import build_classifier, save_classifier
from facetry.models.classifier import Classifier
from facetry.models.device import compute_dtype, pick_device
from facetry.progress import Reporter
from facetry.recipe import ClassifierRecipe
from facetry.training.data import (
    Examples,
    FeatureInputs,
    Inputs,
    PhotoInputs,
    embed,
    read_examples,
)
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
    device = pick_device()
    torch.manual_seed(recipe.seed)
    classifier = build_classifier(catalogue.taxonomy, recipe.backbone, recipe.heads, recipe.image).to(
        device
    )
    examples = read_examples(catalogue, split, classifier.backbone.preprocess, reporter)
    model, inputs = _what_to_fit(recipe, classifier, examples, folder / "training", reporter)
    run = Run(
        taxonomy=catalogue.taxonomy,
        config=recipe.training,
        seed=recipe.seed,
        examples=examples,
        inputs=inputs,
        device=device,
        folder=folder / "training",
    )
    state = TrainingState(
        model=model,
        optimiser=build_optimiser(model, recipe.training),
        scaler=_scaler(recipe, device),
    )
    torch.manual_seed(recipe.seed)  # what was drawn until here depends on how the model is built
    if state.restore(run.folder):
        reporter.say(f"Going on after epoch {state.epoch} of {recipe.training.epochs}.")
    total = len(examples.train) * (recipe.training.epochs - state.epoch)
    with reporter.bar("Training", total) as advance:
        fit(run, state, advance)
    model.load_state_dict(state.best_weights)
    save_classifier(folder, classifier)
    return classifier.eval()


_FEATURES = "features.safetensors"
UNFINISHED = (STATE, _FEATURES)
"""What only an unfinished training needs, in its folder `training`."""


def _what_to_fit(
    recipe: ClassifierRecipe,
    classifier: Classifier,
    examples: Examples,
    folder: Path,
    reporter: Reporter,
) -> tuple[nn.Module, Inputs]:
    """The whole classifier on photos or, with a frozen backbone, its heads on stored features."""
    if not recipe.backbone.frozen:
        augmenter = Augmenter(recipe.augment, recipe.seed)
        return classifier, PhotoInputs(examples.store, augmenter, classifier.device)
    features = _features(classifier, examples, folder / _FEATURES, reporter)
    return classifier.heads, FeatureInputs(features.to(classifier.device))


def _features(classifier: Classifier, examples: Examples, path: Path, reporter: Reporter) -> Tensor:
    """The stored features (N, D), made anew unless they are of the same readable photos."""
    readable = torch.from_numpy(examples.store.readable)
    stored = load_file(path) if path.is_file() else {}
    if stored and torch.equal(stored["readable"], readable):
        return stored["features"]
    features = embed(classifier.backbone, examples, classifier.device, reporter)
    with writing(path) as draft:
        save_file({"features": features, "readable": readable}, draft)
    return features


def _scaler(recipe: ClassifierRecipe, device: torch.device) -> torch.amp.GradScaler:
    is_fp16 = compute_dtype(recipe.training.precision, device) == torch.float16
    return torch.amp.GradScaler(device.type, enabled=is_fp16)
