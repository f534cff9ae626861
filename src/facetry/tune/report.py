"""A search as one HTML page, which needs nothing beside it."""

from pathlib import Path
from typing import Any

from facetry.files import write_text
from facetry.pages.environment import make_environment
from facetry.tune.charts import history, importance_bars, parallel_lines
from facetry.tune.findings import Findings
from facetry.tune.space import Choices, Dimension, Span
from facetry.tune.trials import counts_text, setting_text, short_names

_NUM_SHOWN = 50


def write_report(path: Path, findings: Findings) -> None:
    """Write the page; the same findings give the same bytes."""
    environment = make_environment("facetry.tune")
    environment.filters["setting"] = setting_text
    write_text(path, environment.get_template("tune.html.jinja").render(_shown(findings)))


def _shown(findings: Findings) -> dict[str, Any]:
    """The names the template knows."""
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
        "space": {key: _described(each) for key, each in dimensions.items()},
        "effects": _effects(findings),
        "history": history(findings.trials),
        "importances": importance_bars(findings.importances),
        "lines": parallel_lines(dimensions, findings.trials),
    }


def _described(dimension: Dimension) -> str:
    """What a key may be, in words."""
    if isinstance(dimension, Choices):
        return ", ".join(map(setting_text, dimension.settings))
    low, high = setting_text(dimension.low), setting_text(dimension.high)
    steps = f", in steps of {setting_text(dimension.step)}" if dimension.step else ""
    return f"{low} to {high}{', logarithmic' if dimension.is_log else steps}"


def _effects(findings: Findings) -> list[dict[str, Any]]:
    """For each setting of each key with choices: trials, their mean score and their best."""
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
