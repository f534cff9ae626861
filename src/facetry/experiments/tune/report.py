"""The report on a search, as one self-contained HTML page."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facetry.experiments.tune.space import Choices, Dimension, Setting, Span
from facetry.experiments.tune.trials import (
    Findings,
    Trial,
    counts_text,
    ranked,
    setting_text,
    short_names,
)
from facetry.reports.charts import ACCENT, INK, LINE, QUIET, SERIES, Chart, draw_chart, style_axes
from facetry.reports.pages import make_environment
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_IN = 0.26
_NAMES = 0.36  # share of the width for the names
_MAX_LINES = 300
_BEST_SHARE = 0.05


def importance_bars(importances: Mapping[str, float]) -> Chart | None:
    """The importance of each key as bars; None if there are too few trials to tell."""
    if not importances:
        return None

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((_NAMES, 0, 1 - _NAMES, 1))
        highest = max(importances.values())
        axes.set(xlim=(0, 1.2 * highest), ylim=(len(importances) - 0.5, -0.5))
        axes.axis("off")
        for y, (key, value) in enumerate(importances.items()):
            axes.text(-0.015 * highest, y, key, ha="right", va="center", fontsize=8.5)
            axes.barh(y, value, 0.6, color=ACCENT)
            axes.text(value + 0.015 * highest, y, f"{value:.0%}", va="center", fontsize=8, color=QUIET)

    described = "; ".join(f"{key} {value:.0%}" for key, value in importances.items())
    return draw_chart("What the score depends on", described, _ROW_IN * len(importances), draw)


def history(trials: Sequence[Trial]) -> Chart | None:
    """Every trial's score in the order in which they began, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    done = [each for each in trials if each.state == "done"]
    if not done:
        return None
    best = list(accumulate((each.score for each in done), max))
    pruned = [each for each in trials if each.state == "pruned"]

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.16, 0.89, 0.8))
        style_axes(axes)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for each, color in ((pruned, SERIES[1]), (done, ACCENT)):
            numbers, scores = [trial.number for trial in each], [trial.score for trial in each]
            axes.plot(numbers, scores, "o", color=color, markersize=3, alpha=0.55, linewidth=0)
        axes.step([each.number for each in done], best, where="post", color=INK, linewidth=1.2)
        axes.set_xlabel("trial", color=INK, fontsize=8)

    described = f"{len(done):,} trials; the best score rises from {best[0]:.4f} to {best[-1]:.4f}"
    return draw_chart("Progress of the best score", described, 2.6, draw)


def parallel_lines(dimensions: Mapping[str, Dimension], trials: Sequence[Trial]) -> Chart | None:
    """Every trial as a line through its settings to its score, the best ones on top."""
    order = ranked(trials)
    if not order or order[0].score == order[-1].score:
        return None
    num_best = max(1, round(_BEST_SHARE * len(order)))
    rest = order[num_best:]
    rest = rest[:: -(-len(rest) // _MAX_LINES) or 1]
    low, high = order[-1].score, order[0].score
    scales = {key: _Scale.of(each) for key, each in dimensions.items()}

    def points(trial: Trial) -> list[float]:
        settings = [scale.position(trial.settings[key]) for key, scale in scales.items()]
        return [*settings, (trial.score - low) / (high - low)]

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.05, 0.06, 0.88, 0.76))
        axes.axis("off")
        axes.set(xlim=(0, len(scales)), ylim=(-0.04, 1.04))
        _draw_axes(axes, scales, (low, high))
        across = range(len(scales) + 1)
        for each in rest:
            axes.plot(across, points(each), color=QUIET, linewidth=0.5, alpha=0.25)
        for each in order[num_best - 1 :: -1] if num_best > 1 else order[:1]:
            axes.plot(across, points(each), color=ACCENT, linewidth=1.1, alpha=0.85)

    described = (
        f"{len(order):,} trials with scores from {low:.4f} to {high:.4f}; the best has "
        + ", ".join(f"{key} {setting_text(order[0].settings[key])}" for key in dimensions)
    )
    return draw_chart("All trials", described, 3.4, draw)


class _Scale:
    """The axis of a key: positions from 0 to 1 of its settings, and `marks` with their labels."""

    def __init__(self, marks: Mapping[float, str], span: Span | None, order: Sequence[Setting]) -> None:
        self.marks = marks
        self.span = span
        self.order = order

    @classmethod
    def of(cls, dimension: Dimension) -> "_Scale":
        if isinstance(dimension, Span):
            ends = (dimension.low, dimension.high)
            return cls({index: setting_text(end) for index, end in enumerate(ends)}, dimension, ())
        order = _sorted(dimension)
        marks = {index / max(1, len(order) - 1): setting_text(each) for index, each in enumerate(order)}
        return cls(marks, None, order)

    def position(self, setting: Setting) -> float:
        if self.span is None:
            return self.order.index(setting) / max(1, len(self.order) - 1)
        assert isinstance(setting, int | float)
        low, high, value = self.span.low, self.span.high, float(setting)
        if self.span.is_log:
            low, high, value = log(low), log(high), log(value)
        return (value - low) / (high - low)


def _sorted(choices: Choices) -> list[Setting]:
    """Numbers in ascending order, anything else as it was listed."""
    numbers = [each for each in choices.settings if isinstance(each, int | float)]
    return [*sorted(numbers)] if len(numbers) == len(choices.settings) else [*choices.settings]


def _draw_axes(axes: "Axes", scales: Mapping[str, _Scale], ends: tuple[float, float]) -> None:
    names = short_names(list(scales))
    marks = [(names[key], scale.marks) for key, scale in scales.items()]
    marks.append(("score", {index: f"{end:.3f}" for index, end in enumerate(ends)}))
    for place, (name, texts) in enumerate(marks):
        axes.plot((place, place), (0, 1), color=LINE, linewidth=1)
        raised = 1.16 if place % 2 else 1.08  # neighbours' names would run into each other
        axes.text(place, raised, name, ha="center", va="center", fontsize=7.5)
        for height, text in texts.items():
            axes.text(place + 0.015 * len(scales), height, text, va="center", fontsize=7, color=QUIET)


_NUM_SHOWN = 50


def write_report(path: Path, findings: Findings) -> None:
    """Write the page; the same findings give the same bytes."""
    environment = make_environment("facetry.experiments.tune")
    environment.filters["setting"] = setting_text
    write_text(path, environment.get_template("tune.html.jinja").render(_variables(findings)))


def _variables(findings: Findings) -> dict[str, Any]:
    """The variables of the template."""
    dimensions = findings.space.dimensions
    return {
        "title": f"Tuning of {len(dimensions)} key{'' if len(dimensions) == 1 else 's'}",
        "counts": counts_text(findings.trials),
        "sampler": findings.sampler,
        "num_points": findings.space.num_points,
        "best": findings.best,
        "shown": findings.ranking[:_NUM_SHOWN],
        "num_done": len(findings.ranking),
        "failed": [each for each in findings.trials if each.state == "failed"],
        "keys": short_names(list(dimensions)),
        "facts": partial(_facts, dimensions),
        "space": {key: _described(each) for key, each in dimensions.items()},
        "effects": _effects(findings),
        "history": history(findings.trials),
        "importances": importance_bars(findings.importances),
        "lines": parallel_lines(dimensions, findings.trials),
    }


def _facts(dimensions: Mapping[str, Dimension], trial: Trial) -> dict[str, str]:
    """A trial's settings of the keys that have choices, by the key's short name."""
    names = short_names(list(dimensions))
    choices = (key for key, each in dimensions.items() if isinstance(each, Choices))
    return {names[key]: setting_text(trial.settings[key]) for key in choices}


def _described(dimension: Dimension) -> str:
    """The values that a key may have, in words."""
    if isinstance(dimension, Choices):
        return ", ".join(map(setting_text, dimension.settings))
    low, high = setting_text(dimension.low), setting_text(dimension.high)
    steps = f", in steps of {setting_text(dimension.step)}" if dimension.step else ""
    return f"{low} to {high}{', logarithmic' if dimension.is_log else steps}"


def _effects(findings: Findings) -> list[dict[str, Any]]:
    """For each setting of each key with choices: number of trials, mean score and best score."""
    rows = []
    for key, dimension in findings.space.dimensions.items():
        if isinstance(dimension, Span):
            continue
        for setting in dimension.settings:
            scores = [each.score for each in findings.ranking if each.settings[key] == setting]
            if scores:
                rows.append(
                    {
                        "key": key,
                        "setting": setting,
                        "num_trials": len(scores),
                        "mean": sum(scores) / len(scores),
                        "best": scores[0],
                    }
                )
    return rows
