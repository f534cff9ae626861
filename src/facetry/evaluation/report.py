"""The report: one HTML file on how good a predictor is, where, and what its answers are like.

The file needs nothing beside it, and the same content gives the same bytes.

Shapes: N products, A attributes (slots) of the category that has most.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from math import ceil, floor, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from facetry.evaluation.metrics import CategoryScore, HeadScore, Scores
from facetry.predictions import Predictions
from facetry.product import Product, ProductId
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
from facetry.reports.pages import make_environment, thumbnail
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
"""The rows of a training log; `epoch` is one of their keys."""

Points = list[tuple[float, float]]
"""(epoch, figure) pairs"""


def category_bars(categories: Sequence[CategoryScore]) -> Chart:
    """Each category's score as a bar, the most frequent value's score as a line across it."""

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
    """Loss and score by epoch, a line for each named log; what no log holds has no chart."""
    titles = {"loss": "Training loss by epoch", "score": "Validation score by epoch"}
    charts = []
    for key, title in titles.items():
        lines = [(name, _points(history, key)) for name, history in histories]
        if any(points for _, points in lines):
            charts.append(_curves(title, lines))
    return charts


def _points(history: History, key: str) -> Points:
    """The rows that have both figures; an epoch without validation has no score."""
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


_MOST_CARDS = 80
_MOST_PER_GROUP = 4
_MOST_TRIES = 25  # photos looked at for one group before it stays short

Verdict = Literal["right", "wrong", "unlabelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One attribute of a card; `label` is what was known, None where nothing was."""

    attribute: str
    value: str
    confidence: float
    label: str | None

    @property
    def verdict(self) -> Verdict:
        """How the value compares to the label."""
        if self.label is None:
            return "unlabelled"
        return "right" if self.value == self.label else "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One product with its photo as a `data:` address."""

    id: ProductId
    category: str
    photo: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One category's cards, the surest first."""

    category: str
    right: tuple[Card, ...]
    wrong: tuple[Card, ...]


def choose_cards(predictions: Predictions, products: Sequence[Product]) -> list[Group]:
    """The surest right and the surest wrong products of each category whose photo can be read.

    Right: every known label is met; the surest has the highest least confidence. Wrong: some label
    is missed; the surest has the highest confidence where it missed.
    """
    codes = predictions.taxonomy.encode_labels(products)  # N A
    known = (codes >= 0) & predictions.head_mask
    missed = known & (predictions.top != codes)
    least = np.where(predictions.head_mask, predictions.confidence, 1).min(axis=1)  # N
    most = np.where(missed, predictions.confidence, 0).max(axis=1)
    right = _ranked(least, known.any(axis=1) & ~missed.any(axis=1))
    wrong = _ranked(most, missed.any(axis=1))
    categories = predictions.taxonomy.categories
    num_cards = max(1, min(_MOST_PER_GROUP, _MOST_CARDS // (2 * len(categories))))

    def cards(rows: NDArray[np.int64], category: int) -> tuple[Card, ...]:
        rows = rows[predictions.category_codes[rows] == category][:_MOST_TRIES]
        made = (_card(predictions, products[row], int(row)) for row in rows)
        return tuple(islice((card for card in made if card), num_cards))

    groups = [
        Group(category=category, right=cards(right, index), wrong=cards(wrong, index))
        for index, category in enumerate(categories)
    ]
    return [group for group in groups if group.right or group.wrong]


def _ranked(confidence: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The chosen rows, surest first, equals in table order."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _card(predictions: Predictions, product: Product, row: int) -> Card | None:
    """The card of one row; None without a photo that can be read."""
    photo = thumbnail(product)
    if photo is None:
        return None
    heads = predictions.taxonomy.heads_of(product.category)
    answers = tuple(
        Answer(
            attribute=head.attribute,
            value=head.values[predictions.top[row, slot]],
            confidence=float(predictions.confidence[row, slot]),
            label=product.labels.get(head.attribute),
        )
        for slot, head in enumerate(heads)
        if head.values
    )
    return Card(id=product.id, category=product.category, photo=photo, answers=answers)


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
