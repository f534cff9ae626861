"""The leaderboard as a table for the terminal, as Markdown and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from facetry.experiments.compare.entries import APPROACHES
from facetry.experiments.compare.leaderboard import Leaderboard, Row
from facetry.runtime.workers import Cost

if TYPE_CHECKING:
    from rich.table import Table

_DASH = "-"


def leaderboard_table(board: Leaderboard) -> "Table":
    """The most important figures, as many as fit a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=(
            "Fills: cells that could be filled at a precision of 90% and of 95%. "
            "Behind: below the best row's score; * significant (95% interval above 0)."
        ),
        caption_justify="left",
    )
    table.add_column("Model", overflow="fold", min_width=max(map(len, APPROACHES.values())))
    for name in ("Public", "Private", "Score", "Fills", "Behind", "Build", "ms each"):
        table.add_column(name, justify="right", no_wrap=True)
    approach = ""
    for row in board.rows:
        if row.approach != approach:
            table.add_section()
            table.add_row(Text(row.approach, "dim"))
            approach = row.approach
        figures = (row.public, row.private, row.score)
        table.add_row(
            Text(row.name),
            *(score_text(each) for each in figures),
            coverage_text(row),
            _behind_mark(row),
            duration_text(row.building),
            f"{row.ms_per_product:.1f}" if isfinite(row.ms_per_product) else _DASH,
            style="bold" if row.is_best else "",
        )
    return table


def _behind_mark(row: Row) -> str:
    if row.behind is None:
        return "failed"
    if row.is_best:
        return "best"
    return f"{row.behind.mean:.3f}{'*' if row.behind.interval[0] > 0 else ' '}"


def leaderboard_markdown(board: Leaderboard) -> str:
    """The paper's Table 1, with more columns: intervals, costs, licences."""
    names = [
        "Approach", "Model", "Public", "Private", "Score (95% interval)",
        "Could fill at 90%, 95%", "Behind the best",
        "Build", "ms/product", "Memory", "Parameters", "Licence of the weights",
    ]  # fmt: skip
    lines = [
        f"# Leaderboard on {board.table.name}",
        "",
        counts_text(board),
        "",
        f"| {' | '.join(names)} |",
        "|---|---|" + "--:|" * 9 + "---|",
        *map(_markdown_row, board.rows),
    ]
    if board.failed:
        lines += ["", "Failed:", "", *(f"- {row.name}: {_one_line(row.error)}" for row in board.failed)]
    return "\n".join(lines) + "\n"


def _markdown_row(row: Row) -> str:
    low, high = row.interval
    score = f"{score_text(row.score)} ({score_text(low)} to {score_text(high)})"
    values = [
        row.approach,
        f"**{row.name}**" if row.is_best else row.name,
        score_text(row.public),
        score_text(row.private),
        "failed" if row.error else score,
        coverage_text(row),
        behind_text(row),
        duration_text(row.building),
        f"{row.ms_per_product:.1f}" if isfinite(row.ms_per_product) else _DASH,
        memory_text(row.scoring),
        count_text(row.num_parameters) if not row.error else _DASH,
        licences_text(row),
    ]
    return f"| {' | '.join(cell.replace('|', '/') for cell in values)} |"


def leaderboard_json(board: Leaderboard) -> dict[str, Any]:
    """Every figure as plain containers; NaN becomes None."""
    return {
        "table": board.table.name,
        "is_nano": board.is_nano,
        "num_train": board.num_train,
        "num_public": board.num_public,
        "num_private": board.num_private,
        "num_labels": board.num_labels,
        "baseline": board.baseline,
        "rows": [_plain(asdict(row)) for row in board.rows],
    }


def counts_text(board: Leaderboard) -> str:
    """The sizes of the parts and the score of the baseline, in a sentence or two."""
    text = (
        f"{board.num_public + board.num_private:,} held-out products with {board.num_labels:,} labels, "
        f"{board.num_public:,} of them public and {board.num_private:,} private; trained on "
        f"{board.num_train:,}. Always answering the most frequent value scores {board.baseline:.3f}."
    )
    return text + (" A rehearsal with nano backbones: the scores say nothing." if board.is_nano else "")


def score_text(value: float) -> str:
    """A score with three digits, or a dash."""
    return f"{value:.3f}" if isfinite(value) else _DASH


def coverage_text(row: Row) -> str:
    """How many cells could be filled at the precisions of `PRECISIONS`; a dash if that is not known."""
    shares = list(row.coverage.values())
    if not shares or not all(map(isfinite, shares)):
        return _DASH
    return " ".join(f"{each:.0%}" for each in shares)


def behind_text(row: Row) -> str:
    """How far a row is behind the best one, with the difference's interval."""
    if row.behind is None:
        return _DASH
    if row.is_best:
        return "best"
    low, high = row.behind.interval
    return f"{row.behind.mean:.3f} ({low:.3f} to {high:.3f})"


def duration_text(cost: Cost | None) -> str:
    """The duration of a build, in a suitable unit.

    >>> [duration_text(Cost(seconds=each, memory_mib=0)) for each in (4.21, 75, 4000)]
    ['4.2 s', '75 s', '1.1 h']
    """
    if cost is None:
        return _DASH
    seconds = cost.seconds
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def memory_text(cost: Cost | None) -> str:
    """The peak memory of predicting: the GPU's if there is one, else the process's.

    >>> memory_text(Cost(seconds=1, memory_mib=310))
    '310 MiB'
    >>> memory_text(Cost(seconds=1, memory_mib=310, gpu_mib=2048))
    '2.0 GiB GPU'
    """
    if cost is None:
        return _DASH
    mib = cost.memory_mib if cost.gpu_mib is None else cost.gpu_mib
    text = f"{mib:.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"
    return text if cost.gpu_mib is None else f"{text} GPU"


def count_text(count: int) -> str:
    """A number of parameters, rounded and with a unit.

    >>> [count_text(each) for each in (0, 812, 85_300, 1_240_000, 986_000_000, 8_290_000_000)]
    ['0', '812', '85 k', '1.2 M', '986 M', '8.3 G']
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            amount = count / size
            return f"{amount:.1f} {unit}" if amount < 10 and unit != "k" else f"{amount:.0f} {unit}"
    return str(count)


def licences_text(row: Row) -> str:
    """The licences of the weights, without duplicates."""
    return "; ".join(dict.fromkeys(source.licence for source in row.sources))


def licence_lines(row: Row) -> list[str]:
    """The names of the weights, each with its licence, without duplicates."""
    return list(dict.fromkeys(f"{source.name}: {source.licence}" for source in row.sources))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: Any) -> Any:  # any value that a row can hold
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
