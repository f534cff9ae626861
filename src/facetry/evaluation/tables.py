"""Scores as tables for the terminal and as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from facetry.evaluation.metrics import Scores
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import OFF_LIST


def scores_table(scores: Scores, *, per_head: bool = False) -> Table:
    """The scores by category or by head, with the total, the numbers of labels and the baselines."""
    return _head_table(scores) if per_head else _category_table(scores)


def _category_table(scores: Scores) -> Table:
    table = _table(scores, ["Category"], ["Attributes", "Labels", "Score", "Baseline", "Gain"])
    for each in scores.by_category():
        counts = (f"{each.num_heads:,}", f"{each.num_labels:,}")
        gain = _figure(each.score - each.baseline, "+.3f")
        table.add_row(Text(each.category), *counts, _figure(each.score), _figure(each.baseline), gain)
    table.add_section()
    counts = (f"{len(scores.heads):,}", f"{scores.num_labels:,}")
    gain = _figure(scores.total - scores.baseline, "+.3f")
    table.add_row("Total", *counts, _figure(scores.total), _figure(scores.baseline), gain, style="bold")
    return table


def _head_table(scores: Scores) -> Table:
    table = _table(
        scores,
        ["Category", "Attribute"],
        ["Labels", "Micro-F1", "Macro-F1", "Score", "Baseline"],
    )
    category = ""
    for head in scores.heads:
        if head.category != category:
            table.add_section()
        figures = (head.micro_f1, head.macro_f1, head.harmonic, head.baseline)
        table.add_row(
            Text(head.category if head.category != category else ""),
            Text(head.attribute),
            f"{head.num_labels:,}",
            *map(_figure, figures),
        )
        category = head.category
    table.add_section()
    total = (_figure(scores.total), _figure(scores.baseline))
    table.add_row("Total", "", f"{scores.num_labels:,}", "", "", *total, style="bold")
    return table


def _table(scores: Scores, names: Sequence[str], figures: Sequence[str]) -> Table:
    low, high = (_figure(bound) for bound in scores.interval)
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=(
            f"95% interval of the total: {low} to {high}. Baseline: always the most frequent value."
            f"\n{coverage_text(scores)}"
        ),
        caption_justify="left",
    )
    for name in names:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def coverage_text(scores: Scores) -> str:
    """How many of the cells could be filled at some precisions, in a sentence."""
    known = [(name, share) for name, share in scores.coverage.items() if isfinite(share)]
    if not known:
        return ""
    parts = [f"{share:.0%} at a precision of {float(name):.0%}" for name, share in known]
    return f"Could be filled, most confident first: {', '.join(parts)}."


def _figure(value: float, form: str = ".3f") -> str:
    return format(value, form) if isfinite(value) else "-"


def unscored_line(predictions: Predictions, products: Sequence[Product]) -> str:
    """One line on what is scored as wrong without a prediction, or not scored; "" if nothing is.

    Predictions and products are in the same order.
    """
    num_off_list = int((predictions.taxonomy.encode_labels(products) == OFF_LIST).sum())
    is_known = predictions.category_codes >= 0
    unread = Counter(
        problem
        for problem, known in zip(predictions.problems, is_known, strict=True)
        if problem and known
    )
    reasons = ", ".join(f"{problem}: {count:,}" for problem, count in unread.most_common())
    counts = {
        "labels not in the model's taxonomy, scored as wrong": num_off_list,
        "products of an unknown category, not scored": int((~is_known).sum()),
        f"products without a readable photo, scored as wrong ({reasons})": unread.total(),
    }
    line = "; ".join(f"{what}: {count:,}" for what, count in counts.items() if count)
    return line[:1].upper() + line[1:]


def scores_json(scores: Scores) -> dict[str, Any]:
    """The scores as plain containers that JSON can hold; NaN becomes None.

    Keys: `total`, `baseline`, `interval`, `num_labels`, `categories` (name to score), `heads` and
    `coverage` (precision to share).
    """
    plain: dict[str, Any] = _without_nan(asdict(scores))
    return plain


def _without_nan(value: Any) -> Any:  # any JSON value
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
