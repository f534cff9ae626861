"""Find photos that cannot be used: by their names, by the files on disk, or by opening every one."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.check.kinds import photo_kind
from facetry.catalogue.check.rows import as_findings
from facetry.catalogue.scan import collect_batches
from facetry.errors import PhotoProblem
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter

PhotoCheck = Literal["none", "exist", "open"]
"""How photos are checked: not at all, whether the files exist, whether they can be opened."""

_NUM_ROWS = 4096  # products whose photos are checked at one time


@dataclass(slots=True, kw_only=True)
class PhotoFindings:
    """What the check of all photos found."""

    findings: list[pl.DataFrame] = field(default_factory=list)
    num_usable: Counter[str] = field(default_factory=Counter)
    """Products with a photo that can be used, by category."""

    sought: Path | None = None
    """Where the first photo that was not found was looked for."""


def check_photos(
    catalogue: Catalogue, how: PhotoCheck, *, num_rows: int, reporter: Reporter = SILENT
) -> PhotoFindings:
    """Check every photo of every product, a few thousand products at a time.

    Raises:
        CatalogueError: a photo pattern that does not fit the ids.
    """
    found = PhotoFindings()
    wanted = catalogue.scan.select("row", "id", "category", "photo")
    with reporter.bar("Checking photos", num_rows) as advance:
        for part in collect_batches(wanted, catalogue.source.table, _NUM_ROWS):
            _check_part(part, catalogue, how, found)
            advance(part.height)
    return found


def _check_part(part: pl.DataFrame, catalogue: Catalogue, how: PhotoCheck, found: PhotoFindings) -> None:
    """Check the photos of some products, and add what is found to `found`."""
    single = []
    rows = []
    for row, id_, category, photo in part.iter_rows():
        paths, problem = catalogue.photos.find(id_, photo, category)
        product = Product(id=id_, category=category or "", photos=paths, problem=problem)
        each = [replace(product, photos=(path,)) for path in paths] or [product]
        single += each
        rows += [row] * len(each)
    usable: dict[int, str] = {}
    bad: dict[str, list[tuple[int, str, str, str]]] = {}
    for row, product in zip(rows, _with_problems(single, how), strict=True):
        if product.problem:
            name = _name(product, catalogue.source.images)
            if product.problem == PhotoProblem.MISSING and found.sought is None:
                found.sought = _sought(product, catalogue)
            bad.setdefault(product.problem, []).append((row, str(product.id), product.category, name))
        else:
            usable[row] = product.category
    found.num_usable.update(usable.values())
    for problem, values in bad.items():
        frame = pl.DataFrame(values, ["row", "id", "category", "value"], orient="row")
        found.findings.append(as_findings(photo_kind(problem), frame))


def _sought(product: Product, catalogue: Catalogue) -> Path:
    """Where a photo that is missing should be, by its name or by the pattern."""
    if product.photos:
        return product.photos[0]
    return (catalogue.source.images or Path()) / catalogue.photos.name(product.id, product.category)


def _with_problems(products: Iterable[Product], how: PhotoCheck) -> Iterator[Product]:
    """The products, of one photo each, with the photo's problem if it has one."""
    if how == "exist":
        return map(_with_file_problem, products)
    from facetry.images import load

    return load(products, (), num_workers=os.cpu_count() or 1)


def _with_file_problem(product: Product) -> Product:
    """A product with the problem of its photo's file, which is not opened."""
    if product.problem:
        return product
    try:
        status = product.photos[0].stat()
    except (OSError, ValueError):  # no such file, or a name that no file can have
        return replace(product, problem=PhotoProblem.MISSING)
    if not stat.S_ISREG(status.st_mode):
        return replace(product, problem=PhotoProblem.MISSING)
    return product if status.st_size else replace(product, problem=PhotoProblem.EMPTY)


def _name(product: Product, folder: Path | None) -> str:
    path = product.photos[0] if product.photos else Path()
    return path.relative_to(folder).as_posix() if folder and product.photos else ""
