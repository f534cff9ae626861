"""The audit report's chart: how many examples values have."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from facetry.audit.labels import CategoryLabels
from facetry.pages.charts import ACCENT, INK, SERIES, Chart, draw_chart, style_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS = 400


def long_tail(categories: Sequence[CategoryLabels], min_examples: int) -> Chart | None:
    """All values that occur, by how often; None where there is no label at all."""
    counts = sorted(
        (count for category in categories for head in category.heads for count in head.counts if count),
        reverse=True,
    )
    if not counts:
        return None
    num_rare = sum(count < min_examples for count in counts)

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.16, 0.9, 0.8))
        style_axes(axes)
        chosen = np.unique(np.linspace(0, len(counts) - 1, _MOST_POINTS).round().astype(int))
        shown = np.array(counts)[chosen]
        axes.set_yscale("log")
        axes.fill_between(chosen + 1, shown, 0.8, step="mid", color=ACCENT, alpha=0.25, linewidth=0)
        axes.step(chosen + 1, shown, where="mid", color=ACCENT, linewidth=1.6)
        axes.axhline(min_examples, color=SERIES[1], linewidth=1.2)
        axes.text(
            1, min_examples * 1.12, f"{min_examples} examples", color=SERIES[1], fontsize=9, va="bottom"
        )
        axes.set(xlim=(0.5, len(counts) + 0.5), ylim=(0.8, max(counts) * 1.4))
        axes.set_yticks([10**power for power in range(6) if 10**power <= max(counts) * 1.4])
        axes.set_yticklabels([f"{10**power:,}" for power in range(6) if 10**power <= max(counts) * 1.4])
        axes.minorticks_off()
        axes.set_xlabel("values of all attributes, the most frequent first", color=INK, fontsize=9)

    described = (
        f"{len(counts):,} values occur; the most frequent {counts[0]:,} times, the rarest "
        f"{counts[-1]:,} times; {num_rare:,} fewer than {min_examples:,} times"
    )
    return draw_chart("Examples of each value", described, 2.6, draw)
