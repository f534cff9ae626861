"""The parity gate: an export must answer photos as the model does that it was made from.

Shapes: N products, A slots, V values.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from facetry.ensemble import Ensemble
from facetry.errors import ExportError
from facetry.evaluation.metrics import score_predictions
from facetry.predictions import Predictions, Predictor
from facetry.product import Product

if TYPE_CHECKING:
    from rich.table import Table

MIN_PHOTOS = 200
"""Products with a readable photo that a verdict needs."""

MIN_AGREEMENT = 0.999
"""The share of top values that an export in floating point must share with its model."""

MAX_FALL = 0.005
"""How far the score of an export in whole numbers may lie below its model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far an export answers as its model does: one row of the gate's table.

    `agreement` is the share of the `num_answers` (product, attribute) pairs with the same top value,
    the differences are absolute ones of probabilities. Scores are NaN without labels.
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
        """How far the export's score lies below the model's."""
        return self.score - self.exported_score

    def fault(self, *, is_int8: bool) -> str:
        """What is wrong with the export, in words; "" if it passes."""
        if is_int8 and not self.fall <= MAX_FALL:
            return f"its score falls by {self.fall:.4f}, and {MAX_FALL} is allowed"
        if not is_int8 and not self.agreement >= MIN_AGREEMENT:
            return f"{self.agreement:.2%} of its answers agree, and {MIN_AGREEMENT:.1%} is asked for"
        return ""


def compare_answers(
    reference: Predictor, exported: Predictor, batches: Iterable[Sequence[Product]], *, name: str
) -> list[Parity]:
    """Have both predictors answer the same decoded products; of ensembles the members' rows first.

    `name` stands in the row of the whole, members go by their own names. What a batch holds is let go
    before the next one.
    """
    found: dict[str, list[tuple[Predictions, Predictions]]] = {}
    products: list[Product] = []
    for batch in batches:
        ours, theirs = _answers(reference, batch, name), _answers(exported, batch, name)
        for each, predictions in ours.items():
            found.setdefault(each, []).append((predictions, theirs[each]))
        products += [replace(product, pixels={}) for product in batch]
    return [_measure(each, parts, products) for each, parts in found.items()]


def _answers(
    predictor: Predictor, batch: Sequence[Product], name: str, prefix: str = ""
) -> Mapping[str, Predictions]:
    """Predictions by name; of an ensemble those of its members, then its own."""
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
    ours, theirs = (Predictions.concatenate(each) for each in zip(*parts, strict=True))
    apart = np.abs(ours.probabilities - theirs.probabilities)[ours.value_mask]
    agrees = (ours.top == theirs.top)[ours.head_mask]
    scores = [score_predictions(each, products, num_resamples=0) for each in (ours, theirs)]
    return Parity(
        name=name,
        num_products=len(products),
        num_answers=len(agrees),
        agreement=float(agrees.mean()) if len(agrees) else nan,
        mean_difference=float(apart.mean()) if len(apart) else nan,
        largest_difference=float(apart.max(initial=0)),
        num_labels=scores[0].num_labels,
        score=scores[0].total,
        exported_score=scores[1].total,
    )


def require_parity(rows: Sequence[Parity], *, is_int8: bool) -> None:
    """Refuse an export that answers otherwise than its model, or was asked too little to tell.

    Raises:
        ExportError: too few products, no labels to score whole numbers by, or a row that fails.
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
    """The error of having fewer products to check an export on than a verdict needs."""
    return ExportError(
        f"An export is checked on at least {MIN_PHOTOS} held-out products with a readable photo, and "
        f"there are {num_readable:,}.",
        hint="Name a catalogue with more of them. One that the model was not trained on counts whole.",
    )


def parity_json(rows: Sequence[Parity]) -> list[dict[str, Any]]:
    """The table as plain containers that JSON can hold; NaN becomes None."""
    return [
        {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(row).items()
        }
        for row in rows
    ]


def parity_table(rows: Sequence[Parity], *, is_int8: bool) -> "Table":
    """The gate's table, for 80 columns; `parity_json` has what it leaves out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    asked = f"a score that falls by {MAX_FALL} at most" if is_int8 else f"{MIN_AGREEMENT:.1%} agreement"
    caption = f"{rows[-1].num_products:,} products. Asked for: {asked}."
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
