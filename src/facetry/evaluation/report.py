"""The report: one HTML file on how good a predictor is, where, and what its answers are like.

The file needs nothing beside it, and the same content gives the same bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil, floor, isfinite
from pathlib import Path
from typing import Any

from facetry.evaluation.charts import History, category_bars, training_curves
from facetry.evaluation.gallery import choose_cards
from facetry.evaluation.metrics import CategoryScore, HeadScore, Scores
from facetry.files import write_text
from facetry.pages.charts import MARKERS
from facetry.pages.environment import make_environment
from facetry.predictions import Predictions
from facetry.product import Product

_MOST_UNREAD = 200  # unread products listed one by one; all are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """One predictor of a comparison; `history` holds its training log's rows, if it was trained."""

    name: str
    scores: Scores
    history: History = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportContent:
    """All that a report shows. `products` are those predicted, in the same order.

    `models` are the ensemble's members and the ensemble itself, or nothing; `facts` are shown as
    they are: catalogue, split, seed, command.
    """

    title: str
    scores: Scores
    predictions: Predictions
    products: Sequence[Product]
    models: Sequence[ModelSummary] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.products) == len(self.predictions)


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report, and the folder it goes to if it is not there yet."""
    template = make_environment("facetry.evaluation").get_template("report.html.jinja")
    write_text(path, template.render(_shown(content)))


def _shown(content: ReportContent) -> dict[str, Any]:
    """The names the template knows."""
    predictions = content.predictions
    unread = [
        (id_, category, problem)
        for id_, category, problem in zip(
            predictions.ids, predictions.categories, predictions.problems, strict=True
        )
        if problem
    ]
    histories = [(model.name, model.history) for model in content.models if model.history]
    return {
        "title": content.title,
        "scores": content.scores,
        "facts": content.facts,
        "num_products": len(predictions),
        "models": content.models,
        "axis": model_axis(content.models),
        "sections": head_sections(content.scores),
        "bars": category_bars(content.scores.by_category()),
        "curves": training_curves(histories),
        "legend": [
            (index % len(MARKERS), list(MARKERS.values())[index % len(MARKERS)], name)
            for index, (name, _) in enumerate(histories)
        ],
        "gallery": choose_cards(predictions, content.products),
        "unread": unread[:_MOST_UNREAD],
        "num_unread": len(unread),
        "reasons": Counter(problem for *_, problem in unread).most_common(),
    }


def head_sections(scores: Scores) -> list[tuple[CategoryScore, list[HeadScore]]]:
    """Each category's figures with its heads."""
    heads = groupby(scores.heads, key=lambda head: head.category)
    return [
        (category, list(group)) for category, (_, group) in zip(scores.by_category(), heads, strict=True)
    ]


def model_axis(models: Sequence[ModelSummary]) -> tuple[float, float]:
    """The range, in steps of 0.05, in which all models' scores and intervals lie."""
    figures = [
        figure
        for model in models
        for figure in (model.scores.total, *model.scores.interval)
        if isfinite(figure)
    ]
    if not figures:
        return 0.0, 1.0
    low = floor(min(figures) * 20) / 20
    return low, max(low + 0.05, ceil(max(figures) * 20) / 20)
