"""Charts as SVG elements that use the colours and fonts of the HTML page they are put in.

matplotlib cannot draw in CSS variables, so everything is drawn in placeholder colours that are replaced
by the variables afterwards: one drawing then fits the light, the dark and the printed page.
"""

import html
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facetry.runtime.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}
"""matplotlib's markers and the characters for them in a legend, in the order of the series."""

_WIDTH_IN = 5.4
_METADATA = ("Creator", "Date", "Format", "Type")  # left out: they differ between versions

_PLACEHOLDERS = {
    "#010101": "var(--ink)",
    "#020202": "var(--quiet)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--track)",
    "#070707": "var(--paper)",
    **{f"#06060{index}": f"var(--series-{index})" for index in range(len(MARKERS))},
}
INK, QUIET, LINE, ACCENT, TRACK, PAPER, *SERIES = _PLACEHOLDERS
"""The placeholder colours to draw in: each becomes the page's colour of that name."""

_SETTINGS: dict[Any, object] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart: its heading, and the `<svg>` element with a description for screen readers."""

    title: str
    svg: str


def draw_chart(title: str, described: str, height_in: float, draw: Callable[["Figure"], None]) -> Chart:
    """Let `draw` draw on a figure; the chart scales, and `described` says in words what it shows."""
    require("A report", "matplotlib")
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcParams.update(_SETTINGS)
        mpl.rcParams["svg.hashsalt"] = title  # so that element ids are the same every time
        # matplotlib lacks the glyph only to measure text; the browser draws it in its own fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = Figure(figsize=(_WIDTH_IN, height_in), facecolor="none")
        draw(figure)
        for axes in figure.axes:
            axes.set_facecolor("none")
        FigureCanvasSVG(figure)
        figure.savefig(file, format="svg", metadata=dict.fromkeys(_METADATA), facecolor="none")
    return Chart(title=title, svg=_adapted(file.getvalue(), title, described))


def style_axes(axes: "Axes") -> None:
    """Style charts with axes: thin grid lines, no frame, few ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.03, y=0.08)


def _adapted(drawing: str, title: str, described: str) -> str:
    """An SVG file's text as part of a page: without prologue and fixed size, in the page's colours."""
    head, body = drawing[drawing.index("<svg") :].split(">", 1)
    head = re.sub(r' (width|height|id)="[^"]*"', "", head)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)  # unused, and not unique in the page
    body = re.sub(r"(?<=: )#0\d{5}", lambda found: _PLACEHOLDERS.get(found[0], found[0]), body)
    body = re.sub(r'style="([^"]*)"', _as_attributes, body)
    name = re.sub(r"\W+", "-", title.casefold())
    return (
        f'{head} role="img" aria-labelledby="{name}-title {name}-text">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-text">{html.escape(described)}</desc>{body}'
    )


def _as_attributes(style: re.Match[str]) -> str:
    """An inline style as attributes of SVG: pages whose policy allows no inline style show these, too.

    The font's family is left out, as it is the page's.
    """
    pairs = (each.split(": ", 1) for each in style[1].split("; "))
    return " ".join(f'{name}="{value}"' for name, value in pairs if name != "font-family")
