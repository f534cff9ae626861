"""The report: one HTML file with a predictor's scores, by category and head, and example predictions.

The file needs no other files, and the same content gives the same bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import ceil, floor, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.evaluation.confusion import HeadDetails, head_details
from facetry.evaluation.gallery import SURE, Compared, choose_cards, wrong_answers, wrong_table
from facetry.evaluation.metrics import CategoryScore, HeadScore, Scores, answers_to
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.reports.charts import (
    ACCENT,
    INK,
    MARKERS,
    PAPER,
    QUIET,
    SERIES,
    TRACK,
    Chart,
    draw_chart,
    style_axes,
)
from facetry.reports.pages import make_environment
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
"""The rows of a training log; `epoch` is one of their keys."""

Points = list[tuple[float, float]]
"""(epoch, value) pairs"""


def category_bars(categories: Sequence[CategoryScore]) -> Chart:
    """Each category's score as a bar, and its baseline as a line across the bar."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.005, 0, 0.99, 1))
        axes.set(xlim=(0, 1), ylim=(len(categories), 0))
        axes.axis("off")
        for row, each in enumerate(categories):
            _draw_bar(axes, row, each)

    described = "; ".join(
        f"{each.category} {each.score:.3f}, baseline {each.baseline:.3f}"
        if isfinite(each.score)
        else f"{each.category} has no labels"
        for each in categories
    )
    height_in = 0.56 * max(1, len(categories))
    return draw_chart("Score by category", described, height_in, draw)


def _draw_bar(axes: "Axes", row: int, each: CategoryScore) -> None:
    axes.text(0, row + 0.34, each.category)
    if not isfinite(each.score):
        axes.text(1, row + 0.34, "no labels", ha="right", color=QUIET)
        return
    axes.text(1, row + 0.34, f"{each.score:.3f}", ha="right", weight="bold")
    axes.barh(row + 0.58, 1, 0.22, color=TRACK)
    axes.barh(row + 0.58, each.score, 0.22, color=ACCENT)
    axes.vlines(each.baseline, row + 0.41, row + 0.75, color=PAPER, linewidth=5)
    axes.vlines(each.baseline, row + 0.41, row + 0.75, color=INK, linewidth=1.8)


def training_curves(histories: Sequence[tuple[str, History]]) -> list[Chart]:
    """Charts of loss and score by epoch, one line for each named log that has the value."""
    titles = {"loss": "Training loss by epoch", "score": "Validation score by epoch"}
    charts = []
    for key, title in titles.items():
        lines = [(name, _points(history, key)) for name, history in histories]
        if any(points for _, points in lines):
            charts.append(_curves(title, lines))
    return charts


def _points(history: History, key: str) -> Points:
    """The points of the rows that have both values; an epoch without validation has no score."""
    pairs = [(row.get("epoch"), row.get(key)) for row in history]
    return [
        (epoch, value)
        for epoch, value in pairs
        if epoch is not None and value is not None and isfinite(value)
    ]


def _curves(title: str, lines: Sequence[tuple[str, Points]]) -> Chart:
    from matplotlib.ticker import MaxNLocator

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.09, 0.9, 0.88))
        style_axes(axes)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        for index, (_, points) in enumerate(lines):
            _draw_line(axes, index, points)

    described = "; ".join(
        f"{name} goes from {points[0][1]:.3f} to {points[-1][1]:.3f}, {len(points)} points"
        for name, points in lines
        if points
    )
    return draw_chart(title, described, 3.0, draw)


def _draw_line(axes: "Axes", index: int, points: Points) -> None:
    axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        color=SERIES[index % len(SERIES)],
        marker=list(MARKERS)[index % len(MARKERS)],
        markersize=4.5,
        markevery=max(1, len(points) // 12),
        linewidth=1.6,
    )


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

    `models` are an ensemble's members and the ensemble itself, else empty; `facts` are shown as they
    are: catalogue, split, seed, command.
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
    """Write the report, and beside it the table of all wrong answers, `NAME.findings.csv`."""
    template = make_environment("facetry.evaluation").get_template("report.html.jinja")
    findings = path.with_suffix(".findings.csv")
    compared = Compared.of(content.predictions, content.products)
    write_text(findings, wrong_table(compared).write_csv())
    write_text(path, template.render(_template_variables(content, compared), findings=findings.name))


def baseline_warning(scores: Scores) -> str:
    """The headline where always giving the most frequent value is as good as the model; else ""."""
    low, _ = scores.interval
    if not isfinite(scores.total):
        return ""
    if scores.total <= scores.baseline:
        return (
            f"Always giving an attribute's most frequent value scores {scores.baseline:.3f}, which is "
            f"no worse than this model's {scores.total:.3f}: it is of no use yet."
        )
    if low <= scores.baseline:
        return (
            f"This model's {scores.total:.3f} is not clearly better than always giving the most "
            f"frequent value, which scores {scores.baseline:.3f}: that is inside the 95% interval."
        )
    return ""


def _template_variables(content: ReportContent, compared: Compared) -> dict[str, Any]:
    """The variables of the template."""
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
        "warning": baseline_warning(content.scores),
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
        "details": _details_by_category(content),
        "sure": SURE,
        "gallery": choose_cards(compared),
        "wrong": wrong_answers(compared),
        "unread": unread[:_MOST_UNREAD],
        "num_unread": len(unread),
        "reasons": Counter(problem for *_, problem in unread).most_common(),
    }


def _details_by_category(content: ReportContent) -> list[tuple[str, list[HeadDetails]]]:
    labels = content.predictions.taxonomy.encode_labels(content.products)
    details = head_details(answers_to(content.predictions, labels))
    by_category = groupby(details, key=lambda each: each.head.category)
    return [(category, list(heads)) for category, heads in by_category]


def head_sections(scores: Scores) -> list[tuple[CategoryScore, list[HeadScore]]]:
    """Each category's figures with its heads."""
    heads = groupby(scores.heads, key=lambda head: head.category)
    return [
        (category, list(group)) for category, (_, group) in zip(scores.by_category(), heads, strict=True)
    ]


def model_axis(models: Sequence[ModelSummary]) -> tuple[float, float]:
    """The range that holds all models' scores and intervals, in steps of 0.05."""
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
