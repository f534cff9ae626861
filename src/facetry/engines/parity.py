"""The check that an export's answers agree with its model's, and the products for it.

First the comparison and its limits, then the choice of products to check on and photos to calibrate
with.

Shapes: S side in pixels.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.errors import ExportError
from facetry.evaluation.held_out import own_split
from facetry.evaluation.metrics import score_predictions
from facetry.images import NUM_DECODERS, load
from facetry.predictions import Predictions, Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.progress import Advance, Reporter

if TYPE_CHECKING:
    from rich.table import Table

MIN_PHOTOS = 200
"""The least number of products with a readable photo to judge an export by."""

MIN_AGREEMENT = 0.999
"""The least share of top values in which a floating-point export must agree with its model."""

MAX_FALL = 0.005
"""The most by which the score of an int8 export may be below its model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the answers of an export and its model agree: one row of the table.

    `agreement` is the share of the `num_answers` (product, attribute) pairs with the same top value; the
    differences are absolute differences of probabilities. Scores are NaN without labels.
    """

    name: str
    num_products: int
    num_answers: int
    agreement: float
    mean_difference: float
    largest_difference: float
    num_labels: int
    score: float
    exported_score: float

    @property
    def fall(self) -> float:
        """How much lower the export's score is than the model's."""
        return self.score - self.exported_score

    def fault(self, *, is_int8: bool) -> str:
        """Why the export fails, in words; "" if it passes."""
        if is_int8 and not self.fall <= MAX_FALL:
            return f"its score falls by {self.fall:.4f}, and {MAX_FALL} is allowed"
        if not is_int8 and not self.agreement >= MIN_AGREEMENT:
            return f"{self.agreement:.2%} of its answers agree, and {MIN_AGREEMENT:.1%} is required"
        return ""


def compare_answers(
    reference: Predictor, exported: Predictor, batches: Iterable[Sequence[Product]], *, name: str
) -> list[Parity]:
    """Compare both predictors' answers on the same products; an ensemble's members come first.

    `name` is the name of the last row; members have their own names. Pixels are released after each
    batch.
    """
    found: dict[str, list[tuple[Predictions, Predictions]]] = {}
    products: list[Product] = []
    for batch in batches:
        expected, actual = _answers(reference, batch, name), _answers(exported, batch, name)
        for each, predictions in expected.items():
            found.setdefault(each, []).append((predictions, actual[each]))
        products += [replace(product, pixels={}) for product in batch]
    return [_measure(each, parts, products) for each, parts in found.items()]


def _answers(
    predictor: Predictor, batch: Sequence[Product], name: str, prefix: str = ""
) -> Mapping[str, Predictions]:
    """Predictions by name; for an ensemble those of its members, then its own."""
    if not isinstance(predictor, Ensemble):
        return {name: predictor.predict(batch)}
    answers: dict[str, Predictions] = {}
    for member, each in predictor.members.items():
        answers |= _answers(each, batch, prefix + member, f"{prefix}{member}/")
    own = {member: answers[prefix + member] for member in predictor.members}
    return {**answers, name: predictor.combine(own)}


def _measure(
    name: str, parts: Sequence[tuple[Predictions, Predictions]], products: Sequence[Product]
) -> Parity:
    expected, actual = (Predictions.concatenate(each) for each in zip(*parts, strict=True))
    differences = np.abs(expected.probabilities - actual.probabilities)[expected.value_mask]
    agrees = (expected.top == actual.top)[expected.head_mask]
    scores = [score_predictions(each, products, num_resamples=0) for each in (expected, actual)]
    return Parity(
        name=name,
        num_products=len(products),
        num_answers=len(agrees),
        agreement=float(agrees.mean()) if len(agrees) else nan,
        mean_difference=float(differences.mean()) if len(differences) else nan,
        largest_difference=float(differences.max(initial=0)),
        num_labels=scores[0].num_labels,
        score=scores[0].total,
        exported_score=scores[1].total,
    )


def require_parity(rows: Sequence[Parity], *, is_int8: bool) -> None:
    """Raise an error for an export whose answers differ from its model's, or that cannot be judged.

    Raises:
        ExportError: too few products, no labels to score int8 by, or a row that fails.
    """
    whole = rows[-1]
    if whole.num_products < MIN_PHOTOS:
        raise too_few(whole.num_products)
    if is_int8 and not whole.num_labels:
        raise ExportError(
            "None of the products that the export is checked on has a label, and an export with int8 "
            "weights is judged by its score.",
            hint="Name a catalogue with labels, or leave out --int8.",
        )
    faults = {row.name: fault for row in rows if (fault := row.fault(is_int8=is_int8))}
    if faults:
        name, fault = next(iter(faults.items()))
        raise ExportError(
            f"The export does not answer as its model does: of {name}, {fault}.",
            hint=_TRY_INSTEAD[is_int8],
        )


_TRY_INSTEAD = {
    True: "Nothing was written. Without --int8 the export keeps its precision; more photos to calibrate "
    "with (--calibration) may help, too.",
    False: "Nothing was written. Try the other format (--to).",
}


def too_few(num_readable: int) -> ExportError:
    """The error that there are too few products to check an export on."""
    return ExportError(
        f"An export is checked on at least {MIN_PHOTOS} held-out products with a readable photo, and "
        f"there are {num_readable:,}.",
        hint="Name a catalogue with more of them. All of one that the model was not trained on is used.",
    )


def parity_json(rows: Sequence[Parity]) -> list[dict[str, Any]]:
    """The rows as plain containers for JSON; NaN becomes None."""
    return [
        {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(row).items()
        }
        for row in rows
    ]


def parity_table(rows: Sequence[Parity], *, is_int8: bool) -> "Table":
    """The table of the comparison, for 80 columns; `parity_json` has further figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    limit = f"a score that falls by {MAX_FALL} at most" if is_int8 else f"{MIN_AGREEMENT:.1%} agreement"
    caption = f"{rows[-1].num_products:,} products. Required: {limit}."
    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False)
    table.add_column("model", overflow="fold")
    for name in ("answers", "agree", "differ by", "score", "export", "fall"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        fault = row.fault(is_int8=is_int8)
        verdict = Text("refused", "bold red") if fault else Text("passed", "green")
        table.add_row(Text(row.name), *_figures(row), verdict)
    return table


def _figures(row: Parity) -> tuple[str, ...]:
    scores = (row.score, row.exported_score, row.fall)
    return (
        f"{row.num_answers:,}",
        f"{row.agreement:.2%}",
        f"{row.largest_difference:.1e}",
        *(f"{each:.4f}" if isfinite(each) else "-" for each in scores),
    )


Photos = Mapping[Preprocess, Sequence[Pixels]]
"""Photos (each (3, S, S)) by their preprocessing."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Disjoint rows of a catalogue to check on and to calibrate with, in the order to read them."""

    checked: NDArray[np.int64]
    calibration: NDArray[np.int64]


def choose_sample(folder: Path, catalogue: Catalogue, *, is_int8: bool, seed: int) -> Sample:
    """Held-out products to check on and others to calibrate with, each in random order by `seed`.

    If the model was trained on this catalogue, its test part comes first, then its validation part,
    then, unless the export is int8, its training part: agreement can be measured on training products,
    a score cannot. Calibration uses training products. Of another catalogue all products are for
    checking, except a quarter to calibrate int8 with.

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
