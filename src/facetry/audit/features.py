"""Which backbone embeds a catalogue's photos: a trained model's, or that of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.audit.config import AuditConfig
from facetry.errors import SettingError
from facetry.models.folder import MEMBERS, ModelFolder, open_folder
from facetry.recipe import ClassifierRecipe, load_recipe

if TYPE_CHECKING:
    from facetry.models.backbones import Backbone

Encoder = ModelFolder | ClassifierRecipe
"""What names a backbone."""


def open_encoder(config: AuditConfig) -> Encoder | None:
    """What the photos are embedded with; None where no features are asked for.

    Raises:
        SettingError: neither a model folder nor a recipe of one classifier.
        ModelFolderError: a folder that is no model folder.
        RecipeError: a recipe that cannot be read.
    """
    if config.features is None:
        return None
    read = _open_model if config.features.is_dir() else _read_recipe
    return read(config.features, config.changes)


def features_identity(encoder: Encoder | None) -> Any:
    """What the features follow from, as plain containers; None where none are asked for."""
    if encoder is None:
        return None
    if isinstance(encoder, ModelFolder):
        return {"model": encoder.fingerprint}
    return encoder.model_dump(mode="json", include={"backbone", "image"})


def make_backbone(encoder: Encoder) -> "Backbone":
    """The backbone that embeds the photos, on the device it computes on.

    Raises:
        BackboneError: weights that cannot be had or do not fit.
        ModelFolderError: weights that are damaged.
    """
    from facetry.models.backbones import build_backbone
    from facetry.models.checkpoint import load_classifier
    from facetry.models.device import pick_device

    if isinstance(encoder, ModelFolder):
        return load_classifier(encoder).backbone
    return build_backbone(encoder.backbone, encoder.image).to(pick_device())


def _open_model(path: Path, changes: tuple[str, ...]) -> ModelFolder:
    if changes:
        raise SettingError(
            f"--set changes a recipe's keys, and {str(path)!r} is a model folder.",
            hint="Leave --set out, or name a recipe with --features.",
        )
    folder = open_folder(path)
    if folder.classifier_recipe is None:
        member = min(folder.members, default="")
        raise SettingError(
            f"{str(path)!r} holds a predictor of the kind {folder.kind!r}, which has no backbone of "
            "its own.",
            hint=f"Name one of its members, as in {path / MEMBERS / member}" if member else "",
        )
    return folder


def _read_recipe(path: Path, changes: tuple[str, ...]) -> ClassifierRecipe:
    recipe = load_recipe(path, changes)
    if not isinstance(recipe, ClassifierRecipe):
        raise SettingError(
            f"{str(path)!r} describes a predictor of the kind {recipe.kind!r}, which has no backbone "
            "of its own.",
            hint="Name a recipe of one classifier, such as recipes/cpu/mobilenetv2_frozen.yaml.",
        )
    return recipe
