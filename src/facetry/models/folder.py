"""The model folder: opened and checked once, then handed on as a value instead of its path.

`checksums.json` is written last: a folder that has it is complete.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from facetry.errors import ModelFolderError, TaxonomyError, first_line
from facetry.models.retired import without_retired
from facetry.product import Preprocess
from facetry.runtime.documents import parse_json, parse_yaml
from facetry.runtime.files import listing, sha256, write_text
from facetry.runtime.local_copies import local_folder
from facetry.runtime.objects import located
from facetry.runtime.resumable import stopped_hint
from facetry.taxonomy import Taxonomy

FORMAT = 1
CHECKSUMS = "checksums.json"
RECIPE = "recipe.yaml"
TAXONOMY = "taxonomy.json"
WEIGHTS = "weights.safetensors"
PREPROCESS = "preprocess.json"
CALIBRATION = "calibration.json"
"""How its probabilities are calibrated; made after the model, so it has a checksum of its own."""

METRICS = "metrics.json"
"""Its scores, by the part of the split that they are of."""

FILL_AUDIT = "fill_audit"
"""The subfolder with what people answered about filled cells."""

NOVELTY = "novelty.safetensors"
"""What it learned from, to tell other photos by; made along with the calibration."""

DRIFT = "drift.npz"
"""What new batches are compared with; it changes no answer, so it is no part of any fingerprint."""

ENGINES = "engines"
"""The subfolder with a model folder's exports."""

MEMBERS = "members"
"""The subfolder with the model folders of an ensemble's members."""

_AGAIN = "Copy the model folder again, or train it anew."


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFolder:
    """A model folder whose files match their checksums; made by `open_folder`.

    `recipe` is the resolved recipe as plain containers, `checksums` the SHA-256 of each of the folder's
    own files by its path in it, `checksums_file` the bytes of `checksums.json`, and `members` the
    folders of an ensemble's own members, by name.
    """

    path: Path
    recipe: Mapping[str, Any]
    checksums: Mapping[str, str]
    checksums_file: bytes
    members: Mapping[str, "ModelFolder"]

    @property
    def kind(self) -> str:
        """The kind of predictor in it."""
        return str(self.recipe.get("kind"))

    @property
    def classifier_recipe(self) -> Mapping[str, Any] | None:
        """The recipe, if the predictor is a classifier; else None."""
        return self.recipe if self.kind == "classifier" else None

    @property
    def parts(self) -> Iterator["ModelFolder"]:
        """The folder itself and those of all members, in the order of their paths."""
        yield self
        for name in sorted(self.members):
            yield from self.members[name].parts

    @property
    def classifiers(self) -> list["ModelFolder"]:
        """The folders of its classifiers: the folder itself, or those of an ensemble's members."""
        members = self.members.values()
        return [each for member in members for each in member.classifiers] if members else [self]

    @property
    def plain_fingerprint(self) -> str:
        """A digest of the checksums, the members' included: equal for equal models.

        Exports are left out, as they give the same answers as the model.
        """
        return self._digest(())

    @property
    def fingerprint(self) -> str:
        """The digest of the model with its calibration and novelty: equal where all answers are."""
        return self.fingerprint_with()

    def fingerprint_with(self, *facts: str) -> str:
        """The fingerprint of the model together with other `facts` that change its answers."""
        own = (self.calibration, self._novelty_sum)
        return self._digest((*facts, *(each for each in own if each is not None)))

    def _digest(self, facts: tuple[str, ...]) -> str:
        digest = hashlib.sha256("\0".join(facts).encode())
        for part in self.parts:
            digest.update(part.checksums_file)
        return digest.hexdigest()

    @property
    def calibration(self) -> str | None:
        """The content of its calibration; None if it has none."""
        file = self.path / CALIBRATION
        try:
            return file.read_text(encoding="utf-8") if file.is_file() else None
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFolderError(f"{file} is damaged.", hint=_AGAIN) from error

    @property
    def _novelty_sum(self) -> str | None:
        """The SHA-256 of what it learned from; None if that is not known."""
        file = self.path / NOVELTY
        try:
            return sha256(file) if file.is_file() else None
        except OSError as error:
            raise ModelFolderError(f"{file} is damaged.", hint=_AGAIN) from error

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The categories, attributes and values that the predictor predicts."""
        with _naming(self.path / TAXONOMY):
            return Taxonomy.from_json((self.path / TAXONOMY).read_text(encoding="utf-8"))

    @cached_property
    def preprocess(self) -> Preprocess:
        """How photos are prepared; `background_model` is the path of its file in this folder."""
        with _naming(self.path / PREPROCESS):
            text = (self.path / PREPROCESS).read_text(encoding="utf-8")
            found = Preprocess.model_validate_json(text)
        model = found.background_model
        return found.model_copy(update={"background_model": self.path / model}) if model else found

    @property
    def weights_sum(self) -> str | None:
        """The SHA-256 of its weights according to `checksums.json`; None if it has no weights."""
        return self.checksums.get(WEIGHTS)

    @cached_property
    def weights(self) -> Path:
        """The file of its weights; its checksum is verified on first access.

        Raises:
            ModelFolderError: a damaged file, or a folder without weights.
        """
        if self.weights_sum is None:
            raise ModelFolderError(
                f"{self.path} has no {WEIGHTS}: it was written by `facetry export --out` to be "
                "predicted with.",
                hint="Name the model folder that it was exported from.",
            )
        _verify(self.path / WEIGHTS, self.weights_sum)
        return self.path / WEIGHTS

    def check_weights(self) -> None:
        """Verify the weights, its own and its members', which `open_folder` does not.

        Raises:
            ModelFolderError: a damaged file.
        """
        for part in self.parts:
            if part.weights_sum is not None:
                part.weights  # noqa: B018  # reading it checks it

    @property
    def exports(self) -> frozenset[str]:
        """The names of its finished exports."""
        return frozenset(each.parent.name for each in self.path.glob(f"{ENGINES}/*/{CHECKSUMS}"))


def open_folder(folder: str | Path | ModelFolder) -> ModelFolder:
    """Check that `folder` is a complete model folder, its members too; an open one is returned as is.

    Of a folder by URL, a copy is opened. Only the content of the weights is not verified yet: they may
    be large, and an export is served without them. `ModelFolder.weights` verifies them.

    Raises:
        ModelFolderError: the folder does not exist, was never finished, has a damaged or missing file,
            or was made by a newer version.
    """
    if isinstance(folder, ModelFolder):
        return folder
    path = local_folder(located(folder))
    if not (path / CHECKSUMS).is_file():
        raise _unfinished(path)
    content, checksums = check_files(path, needed=(RECIPE,), unread=(WEIGHTS,))
    recipe = _read_recipe(path)
    return ModelFolder(
        path=path,
        recipe=recipe,
        checksums=checksums,
        checksums_file=content,
        members=_open_members(path, recipe),
    )


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files, which completes the model folder.

    Left out are the files of training and the answers about filled cells, which are not part of the
    model, and members, exports, calibration, novelty and the reference for drift, which have checksums
    of their own.
    """
    own = listing(folder, lambda path: _is_own(folder, path))
    sums = {path.relative_to(folder).as_posix(): sha256(path) for path in own}
    write_text(folder / CHECKSUMS, json.dumps({"format": FORMAT, "files": sums}, indent=1))


def check_files(
    folder: Path, *, needed: Collection[str], unread: Collection[str] = ()
) -> tuple[bytes, dict[str, str]]:
    """Check a finished folder's files against its checksums, which must list the files in `needed`.

    Files in `unread` must exist, but their content is not checked. Returns the bytes of
    `checksums.json`, and the SHA-256 of each file by its path in the folder.

    Raises:
        ModelFolderError: a damaged or missing file, or checksums made by a newer version.
    """
    try:
        content = (folder / CHECKSUMS).read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{folder / CHECKSUMS} is damaged.", hint=_AGAIN) from error
    checksums = _parse_checksums(folder, content)
    for name, expected in {**dict.fromkeys(needed, ""), **checksums}.items():
        _verify(folder / name, None if name in unread else expected)
    return content, checksums


def _unfinished(path: Path) -> ModelFolderError:
    """The error for a folder that does not exist or has no checksums."""
    what = "has no checksums.json: it was never finished" if path.is_dir() else "does not exist"
    hint = (
        stopped_hint(path)
        or "Name the folder that `facetry train` wrote with --out; the same command finishes one."
    )
    return ModelFolderError(f"The model folder {str(path)!r} {what}.", hint=hint)


def _open_members(path: Path, recipe: Mapping[str, Any]) -> dict[str, ModelFolder]:
    members = recipe.get("members") if recipe.get("kind") == "ensemble" else None
    names = map(str, members) if isinstance(members, dict) else ()
    return {name: open_folder(path / MEMBERS / name) for name in names}


def _read_recipe(path: Path) -> Mapping[str, Any]:
    """The recipe in a model folder, without retired keys."""
    with _naming(path / RECIPE):
        content = parse_yaml((path / RECIPE).read_text(encoding="utf-8"))
        return without_retired(content) if isinstance(content, dict) else {}


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Raise errors of reading a file of a model folder as errors that name it."""
    try:
        yield
    except (OSError, ValueError, TaxonomyError) as error:
        reason = error.message if isinstance(error, TaxonomyError) else first_line(error)
        raise ModelFolderError(f"{file} cannot be read: {reason}", hint=_AGAIN) from error


def _is_own(folder: Path, path: Path) -> bool:
    inner = path.relative_to(folder).parts
    others = {MEMBERS, "training", ENGINES, CALIBRATION, NOVELTY, FILL_AUDIT, DRIFT}
    return path.name != CHECKSUMS and inner[0] not in others


def _parse_checksums(folder: Path, text: bytes) -> dict[str, str]:
    """The SHA-256 of each file by its path in the folder.

    Raises:
        ModelFolderError: the checksums are damaged, or made by a newer version.
    """
    try:
        content = parse_json(text)
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
    return sums


def _verify(path: Path, expected: str | None) -> None:
    """Check that a file exists and, unless `expected` is None, has that checksum."""
    if not path.is_file():
        raise ModelFolderError(f"{path} is missing; {CHECKSUMS} lists it.", hint=_AGAIN)
    if expected is not None and sha256(path) != expected:
        raise ModelFolderError(
            f"{path} is damaged: its checksum is not that in {CHECKSUMS}.", hint=_AGAIN
        )
