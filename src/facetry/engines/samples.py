"""Which products an export is checked on, and which photos it is calibrated with.

Shapes: S side in pixels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.engines.parity import MIN_PHOTOS, too_few
from facetry.errors import ExportError
from facetry.images import NUM_DECODERS, load
from facetry.job import own_split
from facetry.product import Pixels, Preprocess, Product
from facetry.progress import Advance, Reporter

Photos = Mapping[Preprocess, Sequence[Pixels]]
"""Photos (each (3, S, S)) in each form."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Rows of a catalogue, in the order in which their photos are tried; no row is in both."""

    checked: NDArray[np.int64]
    calibration: NDArray[np.int64]


def choose_sample(folder: Path, catalogue: Catalogue, *, is_int8: bool, seed: int) -> Sample:
    """Held-out products to check on and others to calibrate with, each in an order drawn by `seed`.

    Where the model folder's own split is of this catalogue, the test part comes first, then the
    validation part. Training products follow unless the export is int8: whether top values agree
    can be seen on them as well, a score cannot. Calibration is on training products. Of another
    catalogue any product is checked on, but for a quarter that int8 is calibrated with.

    Raises:
        ExportError: no product of a category that the model knows, or too few to check on.
    """
    known = np.flatnonzero(catalogue.category_codes >= 0)
    if not len(known):
        raise ExportError(
            f"None of the {len(catalogue):,} products in {catalogue.source.table.name} is of a category "
            f"that the model knows: {', '.join(catalogue.taxonomy.categories)}.",
            hint="Name a catalogue of these categories.",
        )
    rows = np.random.RandomState(seed).permutation(known)
    split = own_split(folder, catalogue)
    if split is None:
        num_checked = len(rows) - (len(rows) // 4 if is_int8 else 0)
        parts = {"test": rows[:num_checked], "validation": rows[:0], "train": rows[num_checked:]}
    else:
        parts = {part: rows[np.isin(rows, split.rows(part))] for part in ("test", "validation", "train")}
    checked = [parts["test"], parts["validation"], *([] if is_int8 else [parts["train"]])]
    sample = Sample(checked=np.concatenate(checked), calibration=parts["train"])
    if len(sample.checked) < MIN_PHOTOS:
        raise too_few(len(sample.checked))
    if is_int8 and not len(sample.calibration):
        raise ExportError(
            "The model's split has no training product left to calibrate int8 with.",
            hint="Name another catalogue, or leave out --int8.",
        )
    return sample


def readable(
    catalogue: Catalogue, rows: NDArray[np.int64], forms: Sequence[Preprocess], reporter: Reporter
) -> Iterator[Product]:
    """Products with pixels in order, those left out whose photos cannot be read."""
    chunks = range(0, len(rows), _ROWS_AT_ONCE)
    products = (
        each for start in chunks for each in catalogue.products(rows[start : start + _ROWS_AT_ONCE])
    )
    with closing(load(products, forms, num_workers=NUM_DECODERS, reporter=reporter)) as loaded:
        yield from (each for each in loaded if not each.problem)


def counted(products: Iterable[Product], advance: Advance) -> Iterator[Product]:
    """Pass products through, counting them on a bar."""
    for product in products:
        advance(1)
        yield product


def load_photos(
    products: Iterable[Product], forms: Sequence[Preprocess], num_wanted: int, reporter: Reporter
) -> Photos:
    """The first products' photos in each form.

    Raises:
        ExportError: there are none.
    """
    photos: dict[Preprocess, list[Pixels]] = {form: [] for form in forms}
    with reporter.bar("Loading photos", num_wanted) as advance:
        for product in counted(islice(products, num_wanted), advance):
            for form in forms:
                photos[form].append(product.pixels[form])
    if not photos[forms[0]]:
        raise ExportError(
            "None of the photos to calibrate int8 with can be read.",
            hint="`facetry check` lists what is wrong with them.",
        )
    return photos
