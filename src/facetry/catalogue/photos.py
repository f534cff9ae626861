"""Find the files of a product's photos. Paths that would leave the photo folder are refused.

A file is found if its name differs from the one that is sought in its ending, as `1.JPG` and `1.png`
do from `1.jpg`. Names in a photo column are found in any letter case.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from os import scandir
from pathlib import Path, PurePosixPath, PureWindowsPath

from facetry.catalogue.photo_files import PhotoFiles, photo_files
from facetry.catalogue.photo_pattern import CHALLENGE_PATTERN, fill_pattern
from facetry.errors import PhotoProblem
from facetry.product import ProductId

ENDINGS = ("jpg", "png", "webp", "avif", "gif", "bmp", "heic", "heif")
"""The endings that photos have, the likeliest first. HEIC is found so that its refusal can be shown."""

_PLAIN_PATTERN = "{id}.jpg"
_NUM_SHOWN = 3

# Wildcards of a glob pattern, but for those that `glob.escape` put into brackets.
_WILDCARD = re.compile(r"(?<!\[)[*?]|\[(?![*?[]\])")
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)

NAME_PHOTO_FOLDER = "Name it with --images, or images: in catalogue.yaml."
"""The advice of messages that say that there is no photo folder."""

DOWNLOAD = (
    "The photo column holds addresses: `facetry photos TABLE --out DIR` downloads the photos and says "
    "what to put into catalogue.yaml."
)
"""The advice where photos are given by addresses."""


@dataclass(frozen=True, slots=True)
class PhotoFinder:
    """Finds photos below `folder`, by `pattern` from the id or by the names in the photo column.

    A pattern with a star, as in `{id}_*.jpg` or `{id}/*.jpg`, finds all files that match it. A photo
    column with addresses is passed over for the pattern, by which downloaded photos are named.
    """

    folder: Path | None
    pattern: str = CHALLENGE_PATTERN
    files: PhotoFiles | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.files is None and self.folder is not None:
            object.__setattr__(self, "files", photo_files(self.folder))

    def find(
        self, product_id: ProductId | None, cell: str | None, category: str | None = None
    ) -> tuple[tuple[Path, ...], str]:
        """Return the paths of a product's photos, and a problem or "".

        Where there is no such file the path is still returned; only a star finds nothing then. A folder
        is listed once: for a star, or when a file is not there as it is named.
        """
        if self.folder is None or self.files is None:
            return (), PhotoProblem.NO_FOLDER
        names = [name.strip() for name in (cell or "").split("|") if name.strip()]
        if names and is_address(names[0]):
            paths, problem = self.find(product_id, None, category)
            return (paths, problem) if any(map(self.has, paths)) else ((), PhotoProblem.ADDRESS)
        if not all(stays_below(name) for name in names):
            return (), PhotoProblem.OUTSIDE
        if names:
            return self._paths(_actual(self.files, name, in_any_case=True) for name in names), ""
        if product_id is None or ("{category}" in self.pattern and not category):
            return (), PhotoProblem.NONE_GIVEN
        return self._by_pattern(self.files, self.name(product_id, category))

    def name(self, product_id: ProductId, category: str | None = None) -> str:
        """The photo's name by the pattern, itself a glob pattern if there is a star: ids are escaped.

        Raises:
            CatalogueError: a pattern for numbers and an id that is not a number.
        """
        return fill_pattern(self.pattern, product_id, category)

    def what_lies_there(self, path: Path) -> str:
        """A sentence on the folder in which a photo was sought: what is in it."""
        folder = path.parent
        if not folder.is_dir():
            return f"There is no folder {folder}."
        with scandir(folder) as entries:
            names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in entries)
        if not names:
            return f"{folder} is empty."
        shown = ", ".join(names[:_NUM_SHOWN])
        return f"{folder} holds {len(names):,} files and folders, such as {shown}."

    def has(self, path: Path) -> bool:
        """Whether one of the paths that were found is that of a file."""
        name = path.relative_to(self.folder or Path()).as_posix()
        return self.files is not None and self.files.has(name)

    def state(self, paths: Sequence[Path]) -> str:
        """A hash that changes with the content of a product's photos, if it is known unread; else ""."""
        return self.files.state(paths) if self.files else ""

    def _by_pattern(self, files: PhotoFiles, name: str) -> tuple[tuple[Path, ...], str]:
        if not stays_below(name):
            return (), PhotoProblem.OUTSIDE
        if "*" in self.pattern:
            names = _matching(files, name)
        else:
            names = [_actual(files, name, in_any_case=False)]
        return self._paths(names), "" if names else PhotoProblem.MISSING

    def _paths(self, names: Iterable[str]) -> tuple[Path, ...]:
        return tuple((self.folder or Path()) / name for name in names)


def _actual(files: PhotoFiles, name: str, *, in_any_case: bool) -> str:
    """The name of the file that is meant by `name`; `name` itself if it is there, or none is."""
    if files.has(name):
        return name
    inner, _, last = name.rpartition("/")
    stem, ending = _cut(last)
    found = [
        (own_stem != stem, own_ending != ending, ENDINGS.index(own_ending), each)
        for each in files.beginning(inner, f"{stem}.")
        for own_stem, own_ending in [_cut(each)]
        if own_ending and (own_stem == stem or (in_any_case and own_stem.casefold() == stem.casefold()))
    ]
    return _below(inner, min(found)[-1]) if found else name


def _matching(files: PhotoFiles, glob_pattern: str) -> list[str]:
    """The files whose names match, `..._2.jpg` before `..._10.jpg`; endings in any letter case."""
    inner, _, last = glob_pattern.rpartition("/")
    wanted = _with_plain_ending(last)
    start = _literal(_WILDCARD.split(last)[0])
    names = files.beginning(_literal(inner), start)
    found = [name for name in names if fnmatchcase(_with_plain_ending(name), wanted)]
    return sorted((_below(_literal(inner), name) for name in found), key=_by_number)


def guess_pattern(finder: PhotoFinder, ids: list[ProductId]) -> str:
    """The challenge's pattern or `{id}.jpg`, whichever finds more photos of the first few products.

    Its ending is the one that most of these photos have: a photo that is to come is expected with it.
    """

    def endings(pattern: str) -> Counter[str]:
        own = replace(finder, pattern=pattern)
        fits = [each for each in ids if pattern != CHALLENGE_PATTERN or isinstance(each, int)]
        found = (path for each in fits for path in own.find(each, None)[0] if own.has(path))
        return Counter(path.suffix for path in found)

    fallback = CHALLENGE_PATTERN if all(isinstance(each, int) for each in ids) else _PLAIN_PATTERN
    counts = {pattern: endings(pattern) for pattern in (CHALLENGE_PATTERN, _PLAIN_PATTERN)}
    best = max(counts, key=lambda pattern: counts[pattern].total())
    if not counts[best]:
        return fallback
    ((ending, _),) = counts[best].most_common(1)
    return best.removesuffix(".jpg") + ending


def is_address(name: str) -> bool:
    """Whether a photo is given by its address in the web.

    >>> is_address("https://shop.example/1.jpg"), is_address("shop/1.jpg")
    (True, False)
    """
    return _ADDRESS.match(name) is not None


def is_photo_name(name: str) -> bool:
    """Whether a file is a photo by its ending.

    >>> is_photo_name("1.JPG"), is_photo_name("1.txt")
    (True, False)
    """
    return _cut(name)[1] != ""


def _cut(name: str) -> tuple[str, str]:
    """A file's name without its ending, and the ending if it is one of photos, else "".

    >>> _cut("1_2.JPEG"), _cut("v1.2")
    (('1_2', 'jpg'), ('v1.2', ''))
    """
    stem, _, ending = name.rpartition(".")
    plain = ending.casefold().replace("jpeg", "jpg")
    return (stem, plain) if stem and plain in ENDINGS else (name, "")


def _with_plain_ending(name: str) -> str:
    stem, ending = _cut(name)
    return f"{stem}.{ending}" if ending else name


def _below(inner: str, name: str) -> str:
    return f"{inner}/{name}" if inner else name


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
