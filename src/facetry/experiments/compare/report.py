"""The leaderboard as one self-contained HTML page."""

from collections.abc import Sequence
from itertools import groupby
from math import ceil, floor, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.experiments.compare.formats import (
    behind_text,
    count_text,
    counts_text,
    coverage_text,
    duration_text,
    licence_lines,
    memory_text,
)
from facetry.experiments.compare.leaderboard import Leaderboard, Row
from facetry.reports.charts import (
    ACCENT,
    INK,
    MARKERS,
    QUIET,
    SERIES,
    Chart,
    draw_chart,
    style_axes,
)
from facetry.reports.pages import make_environment
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN, _BAR = 0.26, 0.34
_NAMES = 0.36  # share of the width for the names


def score_bars(rows: Sequence[Row]) -> Chart | None:
    """Public and private score of every row as bars, grouped by approach; None without a score."""
    done = [row for row in rows if isfinite(row.score)]
    if not done:
        return None
    groups = [(approach, list(group)) for approach, group in groupby(done, lambda row: row.approach)]
    height = len(done) + len(groups)
    halves = [score for row in done for score in (row.public, row.private) if isfinite(score)]
    highest = max([0.05, *halves])

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((_NAMES, 0, 1 - _NAMES, 1))
        axes.set(xlim=(0, 1.5 * highest), ylim=(height, 0))
        axes.axis("off")
        top = 0
        for approach, group in groups:
            figure.text(0, 1 - (top + 0.62) / height, approach, weight="bold", fontsize=8.5, va="center")
            for offset, row in enumerate(group, start=1):
                _draw_pair(axes, top + offset + 0.5, row)
            top += 1 + len(group)

    described = "; ".join(
        f"{row.name} public {row.public:.3f}, private {row.private:.3f}" for row in done
    )
    return draw_chart("Public and private score", described, _ROW_IN * height, draw)


def _draw_pair(axes: "Axes", y: float, row: Row) -> None:
    """The row's name and its two bars, centred at the height `y`."""
    gap = 0.01 * axes.get_xlim()[1]
    axes.text(-gap, y, row.name, ha="right", va="center", fontsize=8.5)
    for offset, score, color in ((-_BAR / 2, row.public, ACCENT), (_BAR / 2, row.private, SERIES[1])):
        if isfinite(score):
            axes.barh(y + offset, score, _BAR * 0.92, color=color)
    text = f"{row.public:.3f} · {row.private:.3f}"
    end = max(each for each in (row.public, row.private, 0.0) if isfinite(each))
    axes.text(end + gap, y, text, va="center", fontsize=8, color=QUIET)


def score_against_time(rows: Sequence[Row]) -> Chart | None:
    """Each row's score over its time for a product, with the Pareto front."""
    done = [row for row in rows if isfinite(row.score)]
    if not done:
        return None
    approaches = list(dict.fromkeys(row.approach for row in rows))
    front = sorted((row for row in done if row.is_efficient), key=lambda row: row.ms_per_product)

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.16, 0.88, 0.8))
        _set_scales(axes, done)
        axes.step(
            [row.ms_per_product for row in front],
            [row.score for row in front],
            where="post",
            color=QUIET,
            linewidth=1.2,
            zorder=1,
        )
        for row in done:
            _draw_point(axes, row, approaches.index(row.approach))
        axes.set_xlabel("milliseconds for a product", color=INK, fontsize=8)

    described = "; ".join(
        f"{row.name} {row.score:.3f} in {row.ms_per_product:.1f} ms"
        + (", on the front" if row.is_efficient else "")
        for row in done
    )
    return draw_chart("Score against time", described, 3.2, draw)


def _set_scales(axes: "Axes", rows: Sequence[Row]) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    style_axes(axes)
    axes.tick_params(labelsize=8)
    axes.set_xscale("log")
    times = [row.ms_per_product for row in rows]
    low, high = min(times) / 1.35, max(times) * 1.6
    marks = [
        figure * 10.0**power for power in range(-3, 7) for figure in (1, 2, 5)
        if low <= figure * 10.0**power <= high
    ]  # fmt: skip
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(marks, [f"{mark:,.6g}" for mark in marks])
    scores = [row.score for row in rows]
    bottom, top = floor(min(scores) * 20 - 0.3) / 20, ceil(max(scores) * 20 + 0.3) / 20
    axes.set(xlim=(low, high), ylim=(bottom, top))


def _draw_point(axes: "Axes", row: Row, series: int) -> None:
    axes.plot(
        row.ms_per_product,
        row.score,
        color=SERIES[series % len(SERIES)],
        marker=list(MARKERS)[series % len(MARKERS)],
        markersize=6 if row.is_efficient else 4.5,
        alpha=1 if row.is_efficient else 0.6,
    )
    if row.is_efficient:
        low, high = axes.get_xlim()
        is_left = row.ms_per_product < (low * high) ** 0.5
        axes.annotate(
            row.name,
            (row.ms_per_product, row.score),
            xytext=(-4 if is_left else 4, 7),
            textcoords="offset points",
            ha="left" if is_left else "right",
            fontsize=8,
        )


def write_report(path: Path, board: Leaderboard) -> None:
    """Write the page; the same leaderboard gives the same bytes."""
    environment = make_environment("facetry.experiments.compare")
    environment.filters |= {
        "duration": duration_text,
        "memory": memory_text,
        "count": count_text,
        "licences": licence_lines,
        "behind": behind_text,
        "coverage": coverage_text,
    }
    template = environment.get_template("leaderboard.html.jinja")
    write_text(path, template.render(_variables(board)))


def _variables(board: Leaderboard) -> dict[str, Any]:
    """The variables of the template."""
    groups = [(approach, list(rows)) for approach, rows in groupby(board.rows, lambda row: row.approach)]
    markers = list(MARKERS.values())
    return {
        "title": f"Leaderboard on {board.table.resolve().parent.name} / {board.table.name}",
        "counts": counts_text(board),
        "board": board,
        "best": board.best,
        "groups": groups,
        "bars": score_bars(board.rows),
        "times": score_against_time(board.rows),
        "legend": [
            (index % len(markers), markers[index % len(markers)], approach)
            for index, (approach, _) in enumerate(groups)
        ],
    }
