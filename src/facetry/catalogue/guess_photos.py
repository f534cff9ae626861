"""Guesses in which folder a shop's photos are and how their files are named, and counts those found."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.photo_files import is_file
from facetry.catalogue.photo_pattern import require_pattern
from facetry.catalogue.photos import PhotoFinder, is_address
from facetry.catalogue.scan import collect_batches
from facetry.catalogue.source import Source
from facetry.product import ProductId

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".avif"})
_FOLDERS = ("photos", "images", "pictures", "img", "bilder", "fotos", "photo", "image")
_MOST_FILES = 100_000
_MOST_FOLDERS = 30
_NUM_TRIED = 300  # products by which a folder or a pattern is chosen
_NUM_SHOWN = 3
_NUM_ROWS = 10_000

Cells = Sequence[tuple[ProductId, str | None, str | None]]
"""The id, the photo cell and the category of some products."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoCount:
    """Of `num_products`, `num_found` have a photo; the first others with the path that was tried."""

    num_products: int
    num_found: int
    missing: tuple[tuple[ProductId, str], ...]


def guess_folder(table: Path, cells: Cells, given: Path | None) -> Path | None:
    """The folder below which the photo column's names are found; with a name alone, one with photos.

    Folders that are tried: `given` and those around it, else those next to the table.
    """
    tried = [*_around(given)] if given else [*_below(table.parent), table.parent]
    names = [name for _, cell, _ in cells if cell for name in cell.split("|")[:1]]

    def num_found(folder: Path) -> int:
        return sum(is_file(folder / name.strip()) for name in names)

    best = max(tried, key=num_found, default=None)
    if best is not None and num_found(best):
        return best
    return given or next((each for each in tried if each.name.lower() in _FOLDERS), None)


def guess_file_pattern(
    folder: Path, ids: Sequence[ProductId], categories: Sequence[str | None] = ()
) -> str | None:
    """The pattern that most of the files below `folder` follow, made of the products' ids.

    With the products' `categories`, folders that are called like them are `{category}`.
    """
    by_id = {}
    for each, category in zip_longest(ids, categories):
        by_id[str(each)] = ("{id}", category)
        if isinstance(each, int):
            by_id |= {
                f"{each:0{width}d}": (f"{{id:0{width}d}}", category)
                for width in range(len(str(each)) + 1, 13)
            }
    patterns = Counter(pattern for file in _photo_files(folder) for pattern in _patterns_of(file, by_id))
    whole = {pattern for pattern in patterns if "*" not in pattern}
    for pattern in [each for each in patterns if "_*" in each or "-*" in each]:
        start = re.sub(r"[_-]\*", "", pattern)
        if start in whole and patterns[start] >= patterns[pattern]:
            del patterns[pattern]  # most products have one photo, named by the id alone
    return next((pattern for pattern, _ in patterns.most_common() if _is_allowed(pattern)), None)


def _is_allowed(pattern: str) -> bool:
    """Whether a pattern can be used: the folders' names may have a star or braces in them."""
    try:
        return bool(require_pattern(pattern))
    except ValueError:
        return False


def _patterns_of(file: PurePosixPath, by_id: Mapping[str, tuple[str, str | None]]) -> Iterator[str]:
    """The patterns by which a file is a photo of one of the ids."""
    if found := by_id.get(file.stem):
        yield f"{_inside(file.parent, found[1])}{found[0]}{file.suffix}"
    parts = re.fullmatch(r"(.+?)([_-]+)[^_-]*", file.stem)
    if parts and (found := by_id.get(parts[1])):
        yield f"{_inside(file.parent, found[1])}{found[0]}{parts[2]}*{file.suffix}"
    if found := by_id.get(file.parent.name):
        yield f"{_inside(file.parent.parent, found[1])}{found[0]}/*{file.suffix}"


def _inside(folder: PurePosixPath, category: str | None) -> str:
    """The beginning of a pattern for files in a folder, which may be called like their category."""
    if folder == PurePosixPath():
        return ""
    return "{category}/" if folder.as_posix() == category else f"{folder.as_posix()}/"


def _photo_files(folder: Path) -> Iterator[PurePosixPath]:
    """Some of the photo files below a folder, relative to it."""
    count = 0
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if PurePosixPath(name).suffix.lower() in _ENDINGS:
                yield PurePosixPath(Path(parent, name).relative_to(folder).as_posix())
                if (count := count + 1) == _MOST_FILES:
                    return


def _around(folder: Path) -> Iterator[Path]:
    yield folder
    yield folder.parent
    yield from _below(folder)


def _below(folder: Path) -> list[Path]:
    """The folders in a folder, those that are called as photo folders are first."""
    found = [Path(each.path) for each in os.scandir(folder) if each.is_dir()]
    found.sort(key=lambda each: (each.name.lower() not in _FOLDERS, each.name))
    return [each for each in found if not each.name.startswith(".")][:_MOST_FOLDERS]


def with_photos(source: Source, cells: Cells, given: Path | None) -> Source:
    """The source with the folder of its photos and, if no column names them, their pattern."""
    tried = cells[:_NUM_TRIED]
    folder = guess_folder(source.table, tried, given)
    if folder is None or source.columns.photo:
        return source.model_copy(update={"images": folder})
    ids = [each for each, _, _ in cells]
    categories = [each for _, _, each in cells]
    options = [folder] if given else [folder, *_below(source.table.parent)]
    for each in options:
        if pattern := guess_file_pattern(each, ids, categories):
            return source.model_copy(update={"images": each, "photo_pattern": pattern})
    return source.model_copy(update={"images": folder})


def count_photos(catalogue: Catalogue) -> PhotoCount:
    """Count the products of a catalogue whose photo's file is there."""
    num_products = num_found = 0
    missing: list[tuple[ProductId, str]] = []
    for id_, cell, category in _cells(catalogue):
        num_products += 1
        path, is_there = _first(catalogue.photos, id_, cell, category)
        num_found += is_there
        if not is_there and len(missing) < _NUM_SHOWN:
            missing.append((id_, path))
    return PhotoCount(num_products=num_products, num_found=num_found, missing=tuple(missing))


def _cells(catalogue: Catalogue) -> Iterable[tuple[ProductId, str | None, str | None]]:
    wanted = catalogue.scan.select("id", "photo", "category")
    for part in collect_batches(wanted, catalogue.source.table, _NUM_ROWS):
        yield from part.iter_rows()


def _first(
    photos: PhotoFinder, id_: ProductId, cell: str | None, category: str | None
) -> tuple[str, bool]:
    """The path that is tried for a product's first photo, and whether a file is there."""
    paths, problem = photos.find(id_, cell, category)
    if not paths:
        name = cell if cell and not is_address(cell.strip()) else photos.name(id_, category)
        tried = "" if photos.folder is None else str(photos.folder / name)
        return tried or problem, False
    return str(paths[0]), photos.has(paths[0])
