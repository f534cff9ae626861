"""What every model folder has: checksums, the recipe that it was built by, its taxonomy."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from facetry.errors import ModelFolderError
from facetry.files import listing, sha256, write_text
from facetry.models.retired import without_retired
from facetry.product import Preprocess
from facetry.runtime.resumable import stopped_hint
from facetry.taxonomy import Taxonomy

FORMAT = 1
CHECKSUMS = "checksums.json"
RECIPE = "recipe.yaml"
TAXONOMY = "taxonomy.json"
WEIGHTS = "weights.safetensors"
PREPROCESS = "preprocess.json"
ENGINES = "engines"
"""Where a model folder's exports stand."""

_AGAIN = "Copy the model folder again, or train it anew."


def seal(folder: Path) -> None:
    """Write the checksums of all files, which makes the folder a model folder.

    Not of what training needed or logged, which is not part of the model, nor of members and exports,
    which have sums of their own.
    """
    own = listing(folder, lambda path: _is_own(folder, path))
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in own}
    write_text(folder / CHECKSUMS, json.dumps({"format": FORMAT, "files": sums}, indent=1))


def open_folder(folder: Path, *, unread: Collection[str] = ()) -> str:
    """Check that `folder` is a whole model folder and return the kind of predictor in it.

    The content of files named in `unread` is not checked.

    Raises:
        ModelFolderError: no such folder, one that was never finished, a damaged or missing file, or
            one made by a newer version.
    """
    if not (folder / CHECKSUMS).is_file():
        what = "has no checksums.json: it was never finished" if folder.is_dir() else "does not exist"
        hint = (
            stopped_hint(folder)
            or "Name the folder that `facetry train` wrote with --out; the same command finishes one."
        )
        raise ModelFolderError(f"The model folder {str(folder)!r} {what}.", hint=hint)
    check_files(folder, unread=unread)
    return str(read_recipe(folder).get("kind"))


def check_files(
    folder: Path, *, needed: Collection[str] = (RECIPE,), unread: Collection[str] = ()
) -> None:
    """Check a sealed folder's files against its checksums; those that are `needed` must be listed.

    The content of files named in `unread` is not checked.

    Raises:
        ModelFolderError: a damaged or missing file, or checksums made by a newer version.
    """
    sums = read_sums(folder)
    for name, expected in {**dict.fromkeys(needed, ""), **sums}.items():
        _verify(folder / name, None if name in unread else expected)


def read_sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a sealed folder, by its path within.

    Raises:
        ModelFolderError: the checksums are missing, damaged, or made by a newer version.
    """
    try:
        content = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        version, sums = int(content["format"]), dict(content["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{folder / CHECKSUMS} is damaged.", hint=_AGAIN) from error
    if version < 1:
        raise ModelFolderError(f"{folder / CHECKSUMS} is damaged.", hint=_AGAIN)
    if version > FORMAT:
        raise ModelFolderError(
            f"{folder} is of format {version}; this version reads up to {FORMAT}.",
            hint="Update Facetry.",
        )
    return sums


def read_recipe(folder: Path) -> Mapping[str, Any]:
    """The resolved recipe, as plain containers, without keys that are retired."""
    content = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    return without_retired(content) if isinstance(content, dict) else {}


def read_classifier_recipe(folder: Path) -> Mapping[str, Any] | None:
    """The recipe of the one classifier in a model folder; None for another predictor's folder."""
    content = read_recipe(folder)
    return content if content.get("kind") == "classifier" else None


def classifier_folders(folder: Path) -> list[Path]:
    """The folders of the classifiers that a model folder consists of: itself, or its members'."""
    members = member_folders(folder)
    return [each for member in members for each in classifier_folders(member)] if members else [folder]


def member_folders(folder: Path) -> list[Path]:
    """The folders of an ensemble's own members; nothing for any other predictor."""
    recipe = read_recipe(folder)
    if recipe.get("kind") != "ensemble":
        return []
    return [folder / "members" / name for name in recipe["members"]]


def read_taxonomy(folder: Path) -> Taxonomy:
    """What the predictor in a model folder predicts."""
    return Taxonomy.from_json((folder / TAXONOMY).read_text(encoding="utf-8"))


def load_preprocess(folder: Path) -> Preprocess:
    """How photos are prepared, with the model that removes backgrounds found in the model folder."""
    text = (folder / PREPROCESS).read_text(encoding="utf-8")
    preprocess = Preprocess.model_validate_json(text)
    model = preprocess.background_model
    return preprocess.model_copy(update={"background_model": folder / model}) if model else preprocess


def _verify(path: Path, expected: str | None) -> None:
    """Check that a file is there and, but for None, that it has the expected sum."""
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; {CHECKSUMS} lists it.", hint=_AGAIN)
    if expected is not None and sha256(path) != expected:
        raise ModelFolderError(
            f"{path} is damaged: its checksum is not that in {CHECKSUMS}.", hint=_AGAIN
        )


def _is_own(folder: Path, path: Path) -> bool:
    inner = path.relative_to(folder).parts
    return path.name != CHECKSUMS and inner[0] not in {"members", "training", ENGINES}
