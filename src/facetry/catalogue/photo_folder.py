"""Photos without a table, one or a folder of them, as a catalogue.

A product's id is the path of its photo in the folder. Its category is given for all of them, or is the
name of a folder that the photo is in.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import polars as pl

from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.photos import is_photo_name
from facetry.catalogue.source import Columns, Source, is_catalogue_folder
from facetry.errors import CatalogueError, nearest
from facetry.taxonomy import Taxonomy


def holds_photos(path: Path) -> bool:
    """Whether `path` is a photo, or a folder that has photos and is no catalogue; by files' names."""
    if path.is_dir():
        return not is_catalogue_folder(path) and any(_photos_below(path))
    return path.is_file() and is_photo_name(path.name)


@contextmanager
def open_photos(path: Path, category: str | None, taxonomy: Taxonomy) -> Iterator[Catalogue]:
    """Open the photos at `path` as a catalogue while the context lasts.

    Raises:
        CatalogueError: the category is not one of the taxonomy, or none is given or named by a folder.
    """
    root, files = (path, list(_photos_below(path))) if path.is_dir() else (path.parent, [path.name])
    categories = [_given(category, taxonomy)] * len(files) if category else _named(root, files, taxonomy)
    with TemporaryDirectory(prefix="facetry-") as folder:
        table = Path(folder) / "photos.parquet"
        pl.DataFrame({"id": files, "Category": categories, "photo": files}).write_parquet(table)
        source = Source(table=table, images=root, columns=Columns(photo="photo"))
        yield assemble(source, taxonomy, is_closed=True)


def _photos_below(folder: Path) -> Iterator[str]:
    """The photos in a folder and below, as paths in it, by name."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        inner = Path(parent).relative_to(folder)
        yield from ((inner / name).as_posix() for name in sorted(files) if is_photo_name(name))


def _given(category: str, taxonomy: Taxonomy) -> str:
    found = _by_folded_name(taxonomy).get(category.casefold())
    if found is None:
        hint = nearest(category, taxonomy.categories)
        raise CatalogueError(f"The model has no category {category!r}.", hint=hint)
    return found


def _named(root: Path, files: Sequence[str], taxonomy: Taxonomy) -> list[str]:
    """The category of each photo by the innermost folder that is named like one, else "".

    Raises:
        CatalogueError: no folder is named like a category.
    """
    known = _by_folded_name(taxonomy)

    def of(file: str) -> str:
        folders = (root.absolute().name, *PurePosixPath(file).parent.parts)
        return next(
            (known[name] for each in reversed(folders) if (name := each.casefold()) in known), ""
        )

    found = [of(file) for file in files]
    if not any(found):
        raise CatalogueError(
            f"Of which category are the photos in {root}? No folder there is named like one.",
            hint=f"Name it with --category. {nearest('', taxonomy.categories)}",
        )
    return found


def _by_folded_name(taxonomy: Taxonomy) -> dict[str, str]:
    return {each.casefold(): each for each in reversed(taxonomy.categories)}
