"""What every model folder has: checksums, the recipe that it was built by, its taxonomy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from facetry.errors import ModelFolderError
from facetry.files import listing, sha256, write_text
from facetry.taxonomy import Taxonomy

FORMAT = 1
CHECKSUMS = "checksums.json"
RECIPE = "recipe.yaml"
TAXONOMY = "taxonomy.json"
WEIGHTS = "weights.safetensors"

_AGAIN = "Copy the model folder again, or train it anew."


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


def read_classifier_recipe(folder: Path) -> Mapping[str, Any] | None:
    """The recipe of the one classifier in a model folder, of a soup its first member's; else None."""
    content = read_recipe(folder)
    if content.get("kind") == "soup":
        content = next(iter(content["members"].values()))
    return content if content.get("kind") == "classifier" else None


def read_taxonomy(folder: Path) -> Taxonomy:
    """What the predictor in a model folder predicts."""
    return Taxonomy.from_json((folder / TAXONOMY).read_text(encoding="utf-8"))


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
