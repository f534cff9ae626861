"""Which backbone embeds a catalogue's photos: a trained model's, or that of a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.audit.config import AuditConfig
from facetry.errors import SettingError
from facetry.files import sha256
from facetry.recipe import ClassifierRecipe, load_recipe

if TYPE_CHECKING:
    from facetry.models.backbones import Backbone


def features_identity(config: AuditConfig) -> Any:
    """What the features follow from, as plain containers; None where none are asked for.

    Raises:
        SettingError: neither a model folder nor a recipe of one classifier.
        ModelFolderError: a folder that is no model folder.
        RecipeError: a recipe that cannot be read.
    """
    if config.features is None:
        return None
    if config.features.is_dir():
        return {"model": sha256(_open_model(config.features, config.changes) / "checksums.json")}
    recipe = _read_recipe(config.features, config.changes)
    return recipe.model_dump(mode="json", include={"backbone", "image"})


def make_backbone(config: AuditConfig) -> "Backbone":
    """The backbone that embeds the photos, on the device it computes on.

    Raises:
        BackboneError: weights that cannot be had or do not fit.
    """
    from facetry.models.backbones import build_backbone
    from facetry.models.checkpoint import load_classifier
    from facetry.models.device import pick_device

    assert config.features is not None
    if config.features.is_dir():
        return load_classifier(config.features).backbone
    recipe = _read_recipe(config.features, config.changes)
    return build_backbone(recipe.backbone, recipe.image).to(pick_device())


def _open_model(folder: Path, changes: tuple[str, ...]) -> Path:
    from facetry.models.folder import open_folder, read_classifier_recipe

    if changes:
        raise SettingError(
            f"--set changes a recipe's keys, and {str(folder)!r} is a model folder.",
            hint="Leave --set out, or name a recipe with --features.",
        )
    kind = open_folder(folder)
    if read_classifier_recipe(folder) is None:
        members = sorted(each.name for each in (folder / "members").glob("*"))
        raise SettingError(
            f"{str(folder)!r} holds a predictor of the kind {kind!r}, which has no backbone of its own.",
            hint=f"Name one of its members, as in {folder / 'members' / members[0]}" if members else "",
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
