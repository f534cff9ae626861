"""The leaderboard as one HTML page, which needs nothing beside it."""

from itertools import groupby
from pathlib import Path
from typing import Any

from facetry.compare.charts import score_against_time, score_bars
from facetry.compare.leaderboard import Leaderboard
from facetry.compare.tables import (
    behind_text,
    count_text,
    counts_text,
    duration_text,
    licence_lines,
    memory_text,
)
from facetry.files import write_text
from facetry.pages.charts import MARKERS
from facetry.pages.environment import make_environment


def write_report(path: Path, board: Leaderboard) -> None:
    """Write the page; the same leaderboard gives the same bytes."""
    environment = make_environment("facetry.compare")
    environment.filters |= {
        "duration": duration_text,
        "memory": memory_text,
        "count": count_text,
        "licences": licence_lines,
        "behind": behind_text,
    }
    template = environment.get_template("leaderboard.html.jinja")
    write_text(path, template.render(_shown(board)))


def _shown(board: Leaderboard) -> dict[str, Any]:
    """The names the template knows."""
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
