"""The report: one HTML file on how good a predictor is, where, and what its answers are like.

The file needs nothing beside it, and the same content gives the same bytes.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import groupby
from math import ceil, floor, isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from facetry.evaluation.charts import MARKERS, History, category_bars, training_curves
from facetry.evaluation.gallery import choose_cards
from facetry.evaluation.metrics import CategoryScore, HeadScore, Scores
from facetry.files import write_text
from facetry.predictions import Predictions
from facetry.product import Product

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

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
    page = _environment().get_template("report.html.jinja").render(_shown(content))
    write_text(path, page)


def _environment() -> Environment:
    templates = files("facetry.evaluation") / "templates"
    environment = Environment(
        loader=FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "signed": signed,
        "percent": percent,
        "breakable": breakable,
        "thousands": "{:,}".format,
    }
    environment.tests["known"] = isfinite
    return environment


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


def figure(value: float) -> str:
    """A figure from 0 to 1 as it is printed; a dash where there is none.

    >>> figure(0.62456)
    '0.625'
    """
    return f"{value:.3f}" if isfinite(value) else DASH


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.04)
    '+0.040'
    """
    return f"{value:+.3f}".replace("-", MINUS) if isfinite(value) else DASH


def percent(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """Where `value` lies between `low` and `high`, as a length in a style sheet.

    >>> percent(0.5), percent(0.75, 0.7, 0.8), percent(float("nan"))
    ('50.00%', '50.00%', '0.00%')
    """
    share = (value - low) / (high - low) if isfinite(value) else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores.

    >>> breakable("fit_shape & more")
    Markup('fit_<wbr>shape &amp; more')
    """
    return Markup(re.sub("_(?=.)", "_<wbr>", str(escape(name))))  # noqa: S704  # escaped first
