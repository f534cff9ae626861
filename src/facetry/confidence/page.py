"""The page on a calibration: reliability before and after, scores by head, and what is promised.

Shapes: N labelled cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence, LabelledCells
from facetry.confidence.mapping import ProbabilityScores, summarise
from facetry.confidence.promises import Promises
from facetry.confidence.selection import MAX_AUC, BlankTest
from facetry.reports.charts import ACCENT, LINE, QUIET, Chart, draw_chart, style_axes
from facetry.reports.pages import make_environment
from facetry.runtime.files import write_text
from facetry.taxonomy import Head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_POINTS: Final = 10
"""The points of a reliability plot, each the mean of equally many cells."""


@dataclass(frozen=True, kw_only=True)
class HeadCalibration:
    """One head's labelled cells before and after calibration, and its test of blank products."""

    head: Head
    num_labels: int
    before: ProbabilityScores
    after: ProbabilityScores
    blanks: BlankTest | None


def head_calibrations(
    before: LabelledCells, after: LabelledCells, blanks: Sequence[BlankTest]
) -> list[HeadCalibration]:
    """The heads that have labels, those with most first."""
    tests = {each.head: each for each in blanks}
    counts = np.bincount(before.heads, minlength=before.taxonomy.num_heads)
    heads = np.argsort(-counts, kind="stable")
    return [
        HeadCalibration(
            head=before.taxonomy.heads[head],
            num_labels=int(counts[head]),
            before=summarise(before.take(before.heads == head)),
            after=summarise(after.take(after.heads == head)),
            blanks=tests.get(int(head)),
        )
        for head in heads
        if counts[head]
    ]


def write_calibration_page(
    path: Path,
    promises: Promises,
    cells: tuple[LabelledCells, LabelledCells],
    blanks: Sequence[BlankTest],
    facts: Mapping[str, str],
) -> None:
    """Write the page; `cells` are the labelled ones before and after calibration.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    before, after = cells
    template = make_environment("facetry.confidence").get_template("calibration.html.jinja")
    variables = {
        "title": f"Calibration of {facts['model']}",
        "promises": promises,
        "summaries": {"before": summarise(before), "after": summarise(after)},
        "num_cells": len(before),
        "heads": head_calibrations(before, after, blanks),
        "chart": reliability_chart(before, after),
        "max_auc": MAX_AUC,
        "facts": facts,
    }
    write_text(path, template.render(variables))


def reliability(cells: LabelledCells | Evidence) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean confidence and share right of up to `NUM_POINTS` equal parts of the cells."""
    order = np.argsort(cells.confidence, kind="stable")
    parts = [each for each in np.array_split(order, NUM_POINTS) if len(each)]
    sure = np.array([cells.confidence[each].mean() for each in parts])
    right = np.array([cells.is_right[each].mean() for each in parts])
    return sure, right


def reliability_chart(before: LabelledCells, after: LabelledCells) -> Chart:
    """How often predictions are right by how sure they are, before and after calibration."""

    def draw(figure: "Figure") -> None:
        for index, (name, cells) in enumerate((("before", before), ("after", after))):
            axes = figure.add_axes((0.07 + 0.53 * index, 0.16, 0.38, 0.74))
            _draw_reliability(axes, name, cells)

    described = "; ".join(
        f"{name}: mean confidence {scores.confidence:.3f}, right {scores.accuracy:.3f}"
        for name, scores in (("before", summarise(before)), ("after", summarise(after)))
    )
    return draw_chart("Right, by confidence", described, 2.7, draw)


def evidence_chart(evidence: Evidence) -> Chart:
    """How often a calibrated model was right by how sure it was, on what its promises are based on."""

    def draw(figure: "Figure") -> None:
        _draw_reliability(figure.add_axes((0.1, 0.16, 0.86, 0.74)), "", evidence)

    sure, right = evidence.confidence.mean(), evidence.is_right.mean()
    described = f"Mean confidence {sure:.3f}, right {right:.3f}, of {len(evidence):,} labels"
    return draw_chart("Right, by confidence", described, 3.4, draw)


def _draw_reliability(axes: "Axes", name: str, cells: LabelledCells | Evidence) -> None:
    sure, right = reliability(cells)
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    axes.plot(sure, right, color=ACCENT, marker="o", markersize=4, linewidth=1.4, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(name, loc="left", color=QUIET)
    axes.set_xlabel("confidence", color=QUIET)
    style_axes(axes)
