"""The settings of an audit, and the backbone that embeds the photos: a trained model's or a recipe's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from facetry.errors import SettingError
from facetry.models.folder import MEMBERS, ModelFolder, open_folder
from facetry.recipe import ClassifierRecipe, load_recipe
from facetry.runtime.config import Config


class AuditConfig(Config):
    """The settings of an audit.

    `features` is a model folder or a recipe whose backbone embeds the photos; `changes` are the
    recipe's keys to change, as KEY=VALUE. A value with fewer than `min_examples` products is rare.
    If it is `safe`, an apostrophe stands before texts in findings.csv that look like formulas.
    """

    features: Path | None = None
    changes: tuple[str, ...] = ()
    min_examples: Annotated[int, Field(ge=1)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    safe: bool = False


if TYPE_CHECKING:
    from facetry.models.towers.image import Backbone

Encoder = ModelFolder | ClassifierRecipe
"""What the backbone is read from."""


def open_encoder(config: AuditConfig) -> Encoder | None:
    """Open what `features` names; None if the audit is without features.

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
    """What the features depend on, as plain containers; None if the audit is without features."""
    if encoder is None:
        return None
    if isinstance(encoder, ModelFolder):
        return {"model": encoder.fingerprint}
    return encoder.model_dump(mode="json", include={"backbone", "image"})


def make_backbone(encoder: Encoder) -> "Backbone":
    """Load the backbone that embeds the photos, onto the device it computes on.

    Raises:
        BackboneError: weights that cannot be downloaded or do not fit.
        ModelFolderError: weights that are damaged.
    """
    from facetry.models.classifier.serialization import load_classifier
    from facetry.models.towers.device import pick_device
    from facetry.models.towers.image import build_backbone

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
