"""The model folder: what training writes and everything else reads.

`weights.safetensors`, `taxonomy.json`, `recipe.yaml`, `preprocess.json`, `metrics.json`, `README.md`
and, last, `checksums.json`; also `background.onnx` where rembg removes backgrounds. Loading needs
nothing else: no network, no pickle, no pretrained weights.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from facetry.errors import ModelFolderError
from facetry.files import listing, sha256, write_text, writing
from facetry.models.backbones import Backbone, build_backbone
from facetry.models.classifier import Classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.device import pick_device
from facetry.models.heads import Heads
from facetry.product import Preprocess
from facetry.taxonomy import Taxonomy

FORMAT = 1
CHECKSUMS = "checksums.json"
WEIGHTS = "weights.safetensors"
PREPROCESS = "preprocess.json"
BACKGROUND = "background.onnx"
RECIPE = "recipe.yaml"

_AGAIN = "Copy the model folder again, or train it anew."


class _Parts(BaseModel):
    """The part of a classifier's recipe that its architecture follows from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    backbone: BackboneConfig
    heads: HeadsConfig = HeadsConfig()


def build_classifier(
    taxonomy: Taxonomy, backbone: BackboneConfig, heads: HeadsConfig, image: ImageConfig
) -> Classifier:
    """A classifier with pretrained backbone and fresh heads.

    Raises:
        BackboneError: an unknown backbone, or weights that cannot be had or do not fit.
    """
    tower = build_backbone(backbone, image)
    return Classifier(tower, Heads(taxonomy, tower.feature_size, heads))


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Write weights, taxonomy and preprocessing; `seal` closes the folder when all else is there."""
    save_weights(folder / WEIGHTS, classifier)
    write_text(folder / "taxonomy.json", classifier.taxonomy.to_json())
    save_preprocess(folder, classifier.backbone.preprocess)


def save_preprocess(folder: Path, preprocess: Preprocess) -> None:
    """Write how photos are prepared, with the model that removes their backgrounds, if any does."""
    if preprocess.background_model:
        with writing(folder / BACKGROUND) as draft:
            shutil.copyfile(preprocess.background_model, draft)
        preprocess = preprocess.model_copy(update={"background_model": Path(BACKGROUND)})
    write_text(folder / PREPROCESS, preprocess.model_dump_json(indent=1))


def save_weights(path: Path, module: torch.nn.Module) -> None:
    """Write a module's weights to a file, whole or not at all."""
    with writing(path) as draft:
        save_file({name: each.contiguous() for name, each in module.state_dict().items()}, draft)


def load_classifier(folder: Path) -> Classifier:
    """Load a classifier from an opened folder (see `open_folder`).

    Raises:
        ModelFolderError: a file is missing or does not fit the others.
    """
    parts, taxonomy, preprocess = _read(folder)
    tower = _build_tower(parts.backbone, preprocess)
    classifier = Classifier(tower, Heads(taxonomy, tower.feature_size, parts.heads))
    _restore(classifier, folder)
    return classifier.to(pick_device()).eval()


def load_backbone(folder: Path) -> Backbone:
    """Load the backbone of an opened folder whose weights are a backbone's alone.

    Raises:
        ModelFolderError: a file is missing or does not fit the others.
    """
    parts, _, preprocess = _read(folder)
    backbone = _build_tower(parts.backbone, preprocess)
    _restore(backbone, folder)
    return backbone.to(pick_device()).eval()


def load_preprocess(folder: Path) -> Preprocess:
    """How photos are prepared, with the model that removes backgrounds found in the model folder."""
    text = (folder / PREPROCESS).read_text(encoding="utf-8")
    preprocess = Preprocess.model_validate_json(text)
    model = preprocess.background_model
    return preprocess.model_copy(update={"background_model": folder / model}) if model else preprocess


def _read(folder: Path) -> tuple[_Parts, Taxonomy, Preprocess]:
    try:
        parts = _Parts.model_validate(read_recipe(folder))
        return parts, read_taxonomy(folder), load_preprocess(folder)
    except (OSError, ValueError) as error:
        raise _unloadable(folder, error) from error


def _build_tower(backbone: BackboneConfig, preprocess: Preprocess) -> Backbone:
    image = ImageConfig.model_validate(preprocess.model_dump())
    return build_backbone(backbone, image, with_weights=False)


def _restore(module: torch.nn.Module, folder: Path) -> None:
    """Give a module the folder's weights."""
    try:
        module.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise _unloadable(folder, error) from error
    except RuntimeError as error:
        raise ModelFolderError(f"{folder}: {WEIGHTS} does not fit {RECIPE}: {error}") from error


def _unloadable(folder: Path, error: Exception) -> ModelFolderError:
    return ModelFolderError(f"{folder} cannot be loaded: {error}")


def seal(folder: Path) -> None:
    """Write the checksums of all files, which makes the folder a model folder.

    Not of what training needed or logged, which is not part of the model, nor of members, which
    have sums of their own.
    """
    own = listing(folder, lambda path: _is_own(folder, path))
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in own}
    write_text(folder / CHECKSUMS, json.dumps({"format": FORMAT, "files": sums}, indent=1))


def open_folder(folder: Path) -> str:
    """Check that `folder` is a whole model folder and return the kind of predictor in it.

    Raises:
        ModelFolderError: no such folder, one that was never finished, a damaged or missing file, or
            one made by a newer version.
    """
    if not (folder / CHECKSUMS).is_file():
        what = "has no checksums.json: it was never finished" if folder.is_dir() else "does not exist"
        hint = "Name the folder that `facetry train` wrote with --out; the same command finishes one."
        raise ModelFolderError(f"The model folder {str(folder)!r} {what}.", hint=hint)
    try:
        content = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        version, sums = int(content["format"]), dict(content["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{folder / CHECKSUMS} is damaged.", hint=_AGAIN) from error
    if version < 1:
        raise ModelFolderError(f"{folder / CHECKSUMS} is damaged.", hint=_AGAIN)
    if version > FORMAT:
        raise ModelFolderError(
            f"{folder} is of format {version}; this version reads up to {FORMAT}.",
            hint="Update Facetry.",
        )
    for name, expected in {RECIPE: "", **sums}.items():
        _verify(folder / name, expected)
    return str(read_recipe(folder).get("kind"))


def read_recipe(folder: Path) -> Mapping[str, Any]:
    """The resolved recipe, as plain containers."""
    content = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def read_taxonomy(folder: Path) -> Taxonomy:
    """What the predictor in a model folder predicts."""
    return Taxonomy.from_json((folder / "taxonomy.json").read_text(encoding="utf-8"))


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; {CHECKSUMS} lists it.", hint=_AGAIN)
    if sha256(path) != expected:
        raise ModelFolderError(
            f"{path} is damaged: its checksum is not that in {CHECKSUMS}.", hint=_AGAIN
        )


def _is_own(folder: Path, path: Path) -> bool:
    inner = path.relative_to(folder).parts
    return path.name != CHECKSUMS and inner[0] not in {"members", "training"}
