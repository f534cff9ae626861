"""A classifier's files in its model folder: written by training, read by everything else.

`weights.safetensors`, `taxonomy.json`, `recipe.yaml`, `preprocess.json`, `metrics.json`, `README.md`
and, last, `checksums.json`; also `background.onnx` if rembg removes backgrounds and `pruning.json`
if the tower was pruned. Loading needs nothing else: no network, no pickle, no pretrained weights.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from facetry.errors import BackboneError, ModelFolderError
from facetry.models.classifier.classifier import Classifier, Neck
from facetry.models.classifier.heads import build_heads
from facetry.models.config import (
    BackboneConfig,
    HeadsConfig,
    ImageConfig,
    PhotosConfig,
    TextConfig,
)
from facetry.models.folder import (
    PREPROCESS,
    RECIPE,
    TAXONOMY,
    WEIGHTS,
    ModelFolder,
    open_folder,
)
from facetry.models.towers.device import pick_device
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.pruning import prune
from facetry.models.towers.slim import Pruning
from facetry.models.towers.text import build_text_tower
from facetry.product import Preprocess
from facetry.runtime.files import write_text, writing
from facetry.taxonomy import Taxonomy

BACKGROUND = "background.onnx"
PRUNING = "pruning.json"

_PRUNINGS = TypeAdapter(list[Pruning])
_ONE_PHOTO = PhotosConfig()


class _Parts(BaseModel):
    """The part of a classifier's recipe that defines its architecture."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backbone: BackboneConfig
    heads: HeadsConfig = HeadsConfig()
    text: TextConfig | None = None
    photos: PhotosConfig = PhotosConfig()


def build_classifier(
    taxonomy: Taxonomy,
    backbone: BackboneConfig,
    heads: HeadsConfig,
    image: ImageConfig,
    *,
    text: TextConfig | None = None,
    photos: PhotosConfig = _ONE_PHOTO,
) -> Classifier:
    """A classifier with pretrained encoders and fresh heads.

    Raises:
        BackboneError: the backbone is unknown or lacks the text encoder that is needed, or its weights
            are not available or do not fit.
    """
    parts = _Parts(backbone=backbone, heads=heads, text=text, photos=photos)
    classifier = _assemble(parts, build_backbone(backbone, image), taxonomy)
    if heads.start:
        _copy_heads(classifier, heads.start)
    return classifier


def _copy_heads(classifier: Classifier, folder: Path) -> None:
    """Copy the weights of the heads that the classifier in `folder` has too.

    Raises:
        ModelFolderError: there is no classifier, or its heads have another form or none in common.
    """
    opened = open_folder(folder)
    if opened.classifier_recipe is None:
        raise ModelFolderError(f"heads.start: {folder} holds a predictor of the kind {opened.kind}.")
    mine, theirs = classifier.heads, load_classifier(opened).cpu().heads
    if mine.form != theirs.form:
        raise ModelFolderError(
            f"heads.start: the heads in {folder} have {theirs.form}, the recipe's have {mine.form}.",
            hint="Both need the same hidden layers, and features of the same size.",
        )
    if mine.names.isdisjoint(theirs.names):
        raise ModelFolderError(f"heads.start: the model in {folder} has none of the catalogue's heads.")
    mine.copy_shared(theirs)


def _assemble(
    parts: _Parts, backbone: Backbone, taxonomy: Taxonomy, *, with_weights: bool = True
) -> Classifier:
    """A classifier with a backbone; without `with_weights` no text encoder's weights are loaded."""
    if parts.text is None and parts.photos.max == 1:
        return Classifier(backbone, build_heads(taxonomy, backbone.feature_size, parts.heads))
    text_tower = None
    if parts.text:
        text_tower = build_text_tower(parts.text.reading(parts.backbone), with_weights=with_weights)
    text_size = text_tower.feature_size if text_tower else 0
    neck = Neck(backbone.feature_size, text_size, parts.photos, parts.text)
    backbone.preprocess = backbone.preprocess.model_copy(update={"max_photos": parts.photos.max})
    heads = build_heads(taxonomy, neck.feature_size, parts.heads)
    return Classifier(backbone, heads, neck=neck, text_tower=text_tower)


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Write weights, taxonomy and preprocessing; `folder.write_checksums` completes the folder."""
    save_weights(folder / WEIGHTS, classifier)
    write_text(folder / TAXONOMY, classifier.taxonomy.to_json())
    save_preprocess(folder, classifier.backbone.preprocess)
    save_prunings(folder, classifier.backbone.prunings)


def save_prunings(folder: Path, prunings: Sequence[Pruning]) -> None:
    """Write a tower's prunings, if there are any."""
    if prunings:
        write_text(folder / PRUNING, _PRUNINGS.dump_json(list(prunings)).decode())


def read_prunings(folder: Path) -> list[Pruning]:
    """The prunings of the tower in a model folder, in order; none without their file.

    Raises:
        ValueError: the file is not one of prunings.
    """
    path = folder / PRUNING
    return _PRUNINGS.validate_json(path.read_bytes()) if path.is_file() else []


def save_preprocess(folder: Path, preprocess: Preprocess) -> None:
    """Write how photos are prepared, and copy the model that removes backgrounds, if there is one."""
    if preprocess.background_model:
        with writing(folder / BACKGROUND) as draft:
            shutil.copyfile(preprocess.background_model, draft)
        preprocess = preprocess.model_copy(update={"background_model": Path(BACKGROUND)})
    write_text(folder / PREPROCESS, preprocess.model_dump_json(indent=1))


def save_weights(path: Path, module: torch.nn.Module) -> None:
    """Write a module's weights to a file, atomically."""
    with writing(path) as draft:
        save_file({name: each.contiguous() for name, each in module.state_dict().items()}, draft)


def load_classifier(folder: ModelFolder) -> Classifier:
    """Load a classifier from its model folder.

    Raises:
        ModelFolderError: a file is missing or does not fit the others.
    """
    parts, taxonomy, preprocess = _read(folder)
    tower = _build_tower(folder, parts.backbone, preprocess)
    classifier = _assemble(parts, tower, taxonomy, with_weights=False)
    _restore(classifier, folder)
    return classifier.to(pick_device()).eval()


def load_backbone(folder: ModelFolder) -> Backbone:
    """Load the backbone from a model folder whose weights are only those of a backbone.

    Raises:
        ModelFolderError: a file is missing or does not fit the others.
    """
    parts, _, preprocess = _read(folder)
    backbone = _build_tower(folder, parts.backbone, preprocess)
    _restore(backbone, folder)
    return backbone.to(pick_device()).eval()


def _read(folder: ModelFolder) -> tuple[_Parts, Taxonomy, Preprocess]:
    try:
        parts = _Parts.model_validate(folder.classifier_recipe or folder.recipe)
        return parts, folder.taxonomy, folder.preprocess
    except (OSError, ValueError) as error:
        raise _unloadable(folder, error) from error


def _build_tower(folder: ModelFolder, config: BackboneConfig, preprocess: Preprocess) -> Backbone:
    image = ImageConfig.model_validate(preprocess.model_dump(exclude={"max_photos"}))
    backbone = build_backbone(config, image, with_weights=False)
    try:
        for each in read_prunings(folder.path):
            prune(backbone, each)
    except (BackboneError, ValueError) as error:
        raise _unloadable(folder, error) from error
    return backbone


def _restore(module: torch.nn.Module, folder: ModelFolder) -> None:
    """Load the folder's weights into a module."""
    try:
        module.load_state_dict(load_file(folder.weights))
    except (OSError, SafetensorError) as error:
        raise _unloadable(folder, error) from error
    except RuntimeError as error:
        raise ModelFolderError(f"{folder.path}: {WEIGHTS} does not fit {RECIPE}: {error}") from error


def _unloadable(folder: ModelFolder, error: Exception) -> ModelFolderError:
    return ModelFolderError(f"{folder.path} cannot be loaded: {error}")
