"""What a model folder and its fill audit say: scores, reliability, promises and their bounds.

Shapes: H heads.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from facetry.confidence.calibration import read_calibration
from facetry.confidence.fill_audit import audited_cells, watch_promises
from facetry.confidence.page import evidence_chart
from facetry.confidence.pools import Promise
from facetry.confidence.promises import Promises
from facetry.confidence.stream import bounds_over_time
from facetry.errors import MissingExtra
from facetry.models.folder import METRICS, ModelFolder

_PARTS: Final = ("test", "validation")
_NUM_POINTS: Final = 24

Row = dict[str, Any]


def scores(folder: ModelFolder) -> Row | None:
    """The scores that training wrote; None if there are none: overall and by head."""
    file = folder.path / METRICS
    metrics: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    part = next((each for each in _PARTS if metrics.get(each)), None)
    if part is None:
        return None
    found = metrics[part]
    by_name = {(each["category"], each["attribute"]): each for each in found["heads"]}
    names = [(head.category, head.attribute) for head in folder.taxonomy.heads]
    return {
        "part": part,
        "total": found["total"],
        "interval": found.get("interval"),
        "num_labels": found["num_labels"],
        "heads": [by_name.get(each) for each in names],
    }


def reliability(folder: ModelFolder) -> Row:
    """The calibration's chart, "" if it cannot be drawn, and the labels behind it by head (H)."""
    calibration = read_calibration(folder)
    if calibration is None or not len(calibration.evidence):
        return {"is_calibrated": False, "chart": "", "num_labels": [0] * folder.taxonomy.num_heads}
    evidence = calibration.evidence
    try:
        chart = evidence_chart(evidence).svg
    except MissingExtra:
        chart = ""
    counts = evidence.counts(folder.taxonomy.num_heads).tolist()
    return {"is_calibrated": True, "chart": chart, "num_labels": counts, "facts": calibration.facts}


def promised(promises: Promises, folder: ModelFolder) -> Row:
    """The promises by head, with the bounds of what people found as their answers came in."""
    watched = watch_promises(promises, folder)
    cells = audited_cells(promises, folder).filter("is_filled")
    of_head = {head: each for each in promises.promises for head in each.pool.heads}
    withdrawn = promises.withdrawn | watched.withdrawn
    heads = []
    for head, watch in enumerate(watched.heads):
        trail = _trail(cells.filter(pl.col("head") == head), promises.delta)
        audit = {"num": watch.num_answers, "num_right": watch.num_right, "trail": trail}
        heads.append(
            {
                **_terms(of_head[head], len(of_head[head].pool.heads)),
                "is_withdrawn": head in withdrawn,
                "audit": {**audit, "lower": watch.bounds.lower, "upper": watch.bounds.upper},
            }
        )
    return {"target": promises.target, "delta": promises.delta, "heads": heads}


def _terms(promise: Promise, num_heads: int) -> Row:
    """What a promise is, or what it lacks."""
    found = promise.threshold
    return {
        "threshold": found.confidence if found else None,
        "num_missing": promise.num_missing,
        "num_labels": promise.num_labels,
        "num_heads": num_heads,
    }


def _trail(cells: pl.DataFrame, delta: float) -> list[Row]:
    """The bounds after some of the answers, the last one among them."""
    if cells.is_empty():
        return []
    bounds = bounds_over_time(cells["is_right"].to_numpy(), delta)
    places = np.unique(np.linspace(0, len(bounds) - 1, _NUM_POINTS).round().astype(int))
    when = cells["when"].to_list()
    return [{"num": int(at) + 1, "lower": bounds[at].lower, "when": when[at]} for at in places]
