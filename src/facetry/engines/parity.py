"""The check that an export's answers agree with its model's, and its limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from facetry.errors import ExportError
from facetry.evaluation.metrics import score_predictions
from facetry.predictions import Predictions, Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.product import Product

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
        hint="Name a catalogue with more of them. Of one that the model was not trained on all are used "
        "but those that int8 is calibrated with: --calibration, a quarter at most.",
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
