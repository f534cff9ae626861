"""The evaluation report's charts."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING

from facetry.evaluation.metrics import CategoryScore
from facetry.pages.charts import (
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
