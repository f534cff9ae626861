"""The products that an export is checked on, and the photos that int8 is calibrated with.

Shapes: S side in pixels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.engines import parity
from facetry.errors import ExportError
from facetry.evaluation.held_out import own_split, trained_on
from facetry.images import NUM_DECODERS, load
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.progress import Advance, Reporter

Photos = Mapping[Preprocess, Sequence[Pixels]]
"""Photos (each (3, S, S)) by their preprocessing."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Disjoint rows of a catalogue to check on and to calibrate with, in the order to read them.

    The first `num_held_out` to check on are for the score as well: the model was not trained on them,
    as far as is known. `remark` says what the score is of.
    """

    checked: NDArray[np.int64]
    calibration: NDArray[np.int64]
    num_held_out: int
    remark: str = ""


def choose_sample(
    folder: Path, catalogue: Catalogue, *, num_calibration: int = 0, seed: int = 0
) -> Sample:
    """Held-out products to check on and others to calibrate with, each in random order by `seed`.

    `num_calibration` is how many int8 is calibrated with at most, 0 for an export that is not int8. If
    the model was trained on this catalogue, its test part comes first, then its validation part, then,
    unless the export is int8, its training part: agreement can be measured on training products, a
    score cannot. Calibration uses training products. Of another catalogue all products are for
    checking, except those to calibrate with, a quarter at most.

    Raises:
        ExportError: there are no products of the model's categories, or too few to check on.
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
    sample = (
        _sample_of_own(rows, split, trained_on(folder, catalogue, "validation"), num_calibration)
        if split
        else _sample_of_other(rows, num_calibration)
    )
    if len(sample.checked) < parity.MIN_PHOTOS:
        raise parity.too_few(len(sample.checked))
    if num_calibration and not len(sample.calibration):
        raise ExportError(
            "The model's split has no training product left to calibrate int8 with.",
            hint="Name another catalogue, or leave out --int8.",
        )
    return sample


def _sample_of_own(
    rows: NDArray[np.int64], split: Split, is_trained_on: NDArray[np.bool_], num_calibration: int
) -> Sample:
    """The sample of the catalogue that the model was trained on."""
    held_out = np.concatenate(
        [rows[np.isin(rows, split.rows(part)) & ~is_trained_on[rows]] for part in ("test", "validation")]
    )
    trained = rows[is_trained_on[rows]]
    if num_calibration:
        return Sample(checked=held_out, calibration=trained, num_held_out=len(held_out))
    remark = (
        "Scores are of held-out products alone; agreement is of training products, too."
        if len(held_out)
        else "There is no score: none of these products is held out from the model's training."
    )
    checked = np.concatenate([held_out, trained])
    return Sample(checked=checked, calibration=rows[:0], num_held_out=len(held_out), remark=remark)


def _sample_of_other(rows: NDArray[np.int64], num_calibration: int) -> Sample:
    """The sample of a catalogue that the model has no split of."""
    num_checked = len(rows) - min(num_calibration, len(rows) // 4)
    return Sample(
        checked=rows[:num_checked],
        calibration=rows[num_checked:],
        num_held_out=num_checked,
        remark="The model has no split of this table, so none of its products is known to be held out: "
        "the score is too high if the model was trained on them.",
    )


def products_to_check(
    catalogue: Catalogue, sample: Sample, forms: Sequence[Preprocess], reporter: Reporter
) -> Iterator[Product]:
    """The readable products to check on; those that were trained on have no labels, so no score."""
    held_out, trained_on = np.split(sample.checked, [sample.num_held_out])
    yield from readable(catalogue, held_out, forms, reporter)
    for product in readable(catalogue, trained_on, forms, reporter):
        yield replace(product, labels={})


def readable(
    catalogue: Catalogue, rows: NDArray[np.int64], forms: Sequence[Preprocess], reporter: Reporter
) -> Iterator[Product]:
    """The products of `rows` with their pixels, without those whose photos cannot be read."""
    chunks = range(0, len(rows), _ROWS_AT_ONCE)
    products = (
        each for start in chunks for each in catalogue.products(rows[start : start + _ROWS_AT_ONCE])
    )
    with closing(load(products, forms, num_workers=NUM_DECODERS, reporter=reporter)) as loaded:
        yield from (each for each in loaded if not each.problem)


def counted(products: Iterable[Product], advance: Advance) -> Iterator[Product]:
    """Yield the products, advancing a progress bar for each."""
    for product in products:
        advance(1)
        yield product


def load_photos(
    products: Iterable[Product], forms: Sequence[Preprocess], num_wanted: int, reporter: Reporter
) -> Photos:
    """The photos of the first products, by preprocessing.

    Raises:
        ExportError: there are no products.
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
