"""Timing in alternation, and how figures are printed."""

import argparse
import gc
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LEAST_WIDTH = 110  # into a file too, for which rich would take 80


def make_parser(about: str | None, *, quick: str) -> argparse.ArgumentParser:
    """What every benchmark understands; `about` is its docstring, `quick` what is left out."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--threads", type=int, default=2)
    return parser


@contextmanager
def working_folder(kept: Path | None) -> Iterator[Path]:
    """The folder to work in: the one that is to be kept, made if need be, or one for the time being."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds that one thing took, repetition by repetition: on the wall, and of all cores."""

    all_s: tuple[float, ...]
    cpu_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one."""
        return statistics.median(self.all_s)

    def divided(self, count: int) -> "Times":
        """The seconds of each of `count` like parts."""
        return Times(
            tuple(each / count for each in self.all_s), tuple(each / count for each in self.cpu_s)
        )

    @property
    def cpu(self) -> "Times":
        """Cores' seconds in place of the wall's: they hardly depend on who else uses the machine."""
        return Times(self.cpu_s, self.cpu_s)

    def as_dict(self) -> dict[str, float]:
        """Median, least and most, in milliseconds."""
        spread = {"median_ms": self.median_s, "min_ms": min(self.all_s), "max_ms": max(self.all_s)}
        return {name: round(1000 * each, 3) for name, each in spread.items()}

    def cells(self) -> tuple[str, str]:
        """Median and range, for a table."""
        return (
            f"{1000 * self.median_s:,.1f}",
            f"{1000 * min(self.all_s):,.1f} - {1000 * max(self.all_s):,.1f}",
        )


def alternate(
    tasks: Mapping[str, Callable[[], object]], *, num_rounds: int, num_warmups: int = 1
) -> dict[str, Times]:
    """Time the tasks in turn, round by round: what slows the machine for a while slows all of them."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for round_ in range(num_warmups + num_rounds):
        for name, task in tasks.items():
            spent = time_once(task)
            if round_ >= num_warmups:
                seconds[name].append(spent)
    return {name: Times(*zip(*each, strict=True)) for name, each in seconds.items()}


def time_once(task: Callable[[], object]) -> tuple[float, float]:
    """Seconds that one call takes, on the wall and of all cores, without the garbage collector.

    Processes that end within it count as its own.
    """
    with _without_collector():
        started, cpu_started = time.perf_counter(), _cpu_s()
        task()
        return time.perf_counter() - started, _cpu_s() - cpu_started


def _cpu_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def ratio(numerator: Times, denominator: Times) -> dict[str, float]:
    """How many times longer the first takes, round by round, and in the fastest round of each.

    The last is what a machine does that nobody else uses.
    """
    ratios = [a / b for a, b in zip(numerator.all_s, denominator.all_s, strict=True)]
    fastest = min(numerator.all_s) / min(denominator.all_s)
    spread = {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        "of_fastest": fastest,
    }
    return {name: round(each, 4) for name, each in spread.items()}


def share_outside(inner: Times, whole: Times) -> dict[str, float]:
    """The share of the whole that is not the inner part, 0 to 1; see `ratio`."""
    inside = ratio(inner, whole)
    ends = {"median": "median", "min": "max", "max": "min", "of_fastest": "of_fastest"}
    return {name: round(1 - inside[end], 4) for name, end in ends.items()}


def percent_cells(name: str, share: Mapping[str, float]) -> tuple[str, str, str]:
    """A share's name, median and range, for a table."""
    return name, f"{100 * share['median']:.1f}", f"{100 * share['min']:.1f} - {100 * share['max']:.1f}"


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Mapping[str, Any]
) -> None:
    """Print a table and, as the last line, the figures as one JSON object."""
    show_table(title, columns, rows)
    print(json.dumps(figures))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(table)


@contextmanager
def _without_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
