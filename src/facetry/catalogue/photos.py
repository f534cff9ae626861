"""Find the files of a product's photos. Paths that would leave the photo folder are refused."""

import bisect
import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os import scandir
from pathlib import Path, PurePosixPath, PureWindowsPath

from facetry.catalogue.source import CHALLENGE_PATTERN
from facetry.errors import CatalogueError, PhotoProblem
from facetry.product import ProductId

_PATTERNS = (CHALLENGE_PATTERN, *(f"{{id}}.{end}" for end in ("jpg", "jpeg", "png", "webp")))

# Wildcards of a glob pattern, but for those that `glob.escape` put into brackets.
_WILDCARD = re.compile(r"(?<!\[)[*?]|\[(?![*?[]\])")

NAME_PHOTO_FOLDER = "Name it with --images, or images: in catalogue.yaml."
"""The advice of messages that say that there is no photo folder."""


@dataclass(frozen=True, slots=True)
class PhotoFinder:
    """Finds photos below `folder`, by `pattern` from the id or by the names in the photo column.

    A pattern with a star, as in `{id}_*.jpg` or `{id}/*.jpg`, finds all files that match it.
    """

    folder: Path | None
    pattern: str = CHALLENGE_PATTERN
    _listed: dict[str, Sequence[str]] = field(default_factory=dict, repr=False, compare=False)

    def find(self, product_id: ProductId | None, cell: str | None) -> tuple[tuple[Path, ...], str]:
        """Return the paths of a product's photos, and a problem or "".

        The disk is not read, except for a pattern with a star: then each folder is listed once.
        """
        if self.folder is None:
            return (), PhotoProblem.NO_FOLDER
        names = [name.strip() for name in (cell or "").split("|") if name.strip()]
        if not all(stays_below(name) for name in names):
            return (), PhotoProblem.OUTSIDE
        if not names and product_id is not None:
            name = self.name(product_id)
            if not stays_below(name):
                return (), PhotoProblem.OUTSIDE
            names = self._matching(name, self.folder) if "*" in self.pattern else [name]
            if not names:
                return (), PhotoProblem.MISSING
        return tuple(self.folder / name for name in names), "" if names else PhotoProblem.NONE_GIVEN

    def name(self, product_id: ProductId) -> str:
        """The photo's name by the pattern, itself a glob pattern if there is a star: ids are escaped.

        Raises:
            CatalogueError: a pattern for numbers and an id that is not a number.
        """
        is_plain = "*" not in self.pattern or isinstance(product_id, int)
        try:
            return self.pattern.format(id=product_id if is_plain else glob.escape(str(product_id)))
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise CatalogueError(
                f"The photo pattern {self.pattern!r} does not fit the id {product_id!r}: {error}.",
                hint="Use {id}, or {id:06d} for whole numbers padded to six digits.",
            ) from error

    def _matching(self, glob_pattern: str, folder: Path) -> list[str]:
        """The files whose names match, `..._2.jpg` before `..._10.jpg`."""
        inner, _, last = glob_pattern.rpartition("/")
        names = self._names_in(folder, _literal(inner))
        start = _literal(_WILDCARD.split(last)[0])
        found = []
        for name in names[bisect.bisect_left(names, start) :]:
            if not name.startswith(start):
                break
            if fnmatchcase(name, last):
                found.append(f"{_literal(inner)}/{name}" if inner else name)
        return sorted(found, key=_by_number)

    def _names_in(self, folder: Path, inner: str) -> Sequence[str]:
        """The files in a folder, sorted."""
        if inner not in self._listed:
            try:
                with scandir(folder / inner) as entries:
                    self._listed[inner] = sorted(each.name for each in entries if each.is_file())
            except (OSError, ValueError):  # no such folder, or a name that no folder can have
                self._listed[inner] = ()
        return self._listed[inner]


def guess_pattern(folder: Path | None, ids: list[ProductId]) -> str:
    """The pattern that finds most photos of the first few products."""

    def num_found(pattern: str) -> int:
        fits = [each for each in ids if "06d" not in pattern or isinstance(each, int)]
        names = [pattern.format(id=each) for each in fits]
        return sum(_is_file(folder / name) for name in names if stays_below(name)) if folder else 0

    fallback = CHALLENGE_PATTERN if all(isinstance(each, int) for each in ids) else "{id}.jpg"
    best = max(_PATTERNS, key=num_found)
    return best if num_found(best) else fallback


def _literal(escaped: str) -> str:
    """Undo `glob.escape`."""
    return re.sub(r"\[([*?[])\]", r"\1", escaped)


def _by_number(name: str) -> list[tuple[int, str]]:
    """A sort key that orders the numbers in names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def stays_below(name: str) -> bool:
    """Whether a relative path, read as a POSIX or a Windows path, stays in its folder."""
    return not any(
        path.anchor or ".." in path.parts or "\0" in name
        for path in (PurePosixPath(name), PureWindowsPath(name))
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # an id too long for a file's name
        return False
