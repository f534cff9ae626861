"""Charts for the report: SVG that goes into a page and takes on the page's colours and fonts.

matplotlib knows no style-sheet variables, so everything is drawn in stand-in colours that are
exchanged afterwards: one drawing then fits the light, the dark and the printed page.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from facetry.evaluation.metrics import CategoryScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, float]]
"""The rows of a training log; `epoch` is one of their keys."""

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""matplotlib's markers and how a legend writes them; the order is that of the series."""

Points = list[tuple[float, float]]
"""(epoch, figure) pairs"""

_WIDTH_IN = 5.4
_METADATA = ("Creator", "Date", "Format", "Type")  # left out: they name versions and addresses

_STAND_INS = {
    "#010101": "var(--ink)",
    "#020202": "var(--quiet)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--track)",
    "#070707": "var(--paper)",
    **{f"#06060{index}": f"var(--series-{index})" for index in range(len(MARKERS))},
}
_INK, _QUIET, _LINE, _ACCENT, _TRACK, _PAPER, *_SERIES = _STAND_INS

_SETTINGS: dict[Any, object] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 10,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _QUIET,
    "ytick.labelcolor": _QUIET,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One drawing: its heading and the `<svg>` element, which carries its own description."""

    title: str
    svg: str


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
    return _chart("Score by category", described, height_in, draw)


def _draw_bar(axes: "Axes", row: int, each: CategoryScore) -> None:
    axes.text(0, row + 0.34, each.category)
    if not isfinite(each.score):
        axes.text(1, row + 0.34, "no labels", ha="right", color=_QUIET)
        return
    axes.text(1, row + 0.34, f"{each.score:.3f}", ha="right", weight="bold")
    axes.barh(row + 0.58, 1, 0.22, color=_TRACK)
    axes.barh(row + 0.58, each.score, 0.22, color=_ACCENT)
    axes.vlines(each.baseline, row + 0.41, row + 0.75, color=_PAPER, linewidth=5)
    axes.vlines(each.baseline, row + 0.41, row + 0.75, color=_INK, linewidth=1.8)


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
    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.09, 0.9, 0.88))
        _style_axes(axes)
        for index, (_, points) in enumerate(lines):
            _draw_line(axes, index, points)

    described = "; ".join(
        f"{name} goes from {points[0][1]:.3f} to {points[-1][1]:.3f}, {len(points)} points"
        for name, points in lines
        if points
    )
    return _chart(title, described, 3.0, draw)


def _style_axes(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=_LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.03, y=0.08)


def _draw_line(axes: "Axes", index: int, points: Points) -> None:
    axes.plot(
        [epoch for epoch, _ in points],
        [value for _, value in points],
        color=_SERIES[index % len(_SERIES)],
        marker=list(MARKERS)[index % len(MARKERS)],
        markersize=4.5,
        markevery=max(1, len(points) // 12),
        linewidth=1.6,
    )


def _chart(title: str, described: str, height_in: float, draw: Callable[["Figure"], None]) -> Chart:
    """What `draw` puts on a figure, as an `<svg>` that scales and says in words what it shows."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcParams.update(_SETTINGS)
        mpl.rcParams["svg.hashsalt"] = title  # element names: the same every time
        # Only measuring lacks the glyph: the text itself is set in the reader's own fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="none")
        draw(figure)
        for axes in figure.axes:
            axes.set_facecolor("none")
        FigureCanvasSVG(figure)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(_METADATA), facecolor="none")
    return Chart(title=title, svg=_adapted(file.getvalue(), title, described))


def _adapted(drawing: str, title: str, described: str) -> str:
    """An SVG file's text as part of a page: no prologue, no fixed size, the page's colours."""
    head, body = drawing[drawing.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height|id)="[^"]*"', "", head)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # never referred to, and not unique in the page
    body = re.sub(r"(?<=: )#0\d{5}", lambda found: _STAND_INS.get(found[0], found[0]), body)
    name = re.sub(r"\W+", "-", title.casefold())
    return (
        f'{head} role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-text">{html.escape(described)}</desc>{body}'
    )
