"""The trials of a search: ranking, tables and text."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import polars as pl

from facetry.experiments.tune.config import SamplerName
from facetry.experiments.tune.space import Setting, Space
from facetry.recipe import Recipe
from facetry.runtime.files import writing

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe that was tried. `score` is on the validation part, NaN for a trial that failed.

    A `pruned` trial was stopped because it scored low: its score is that of its last epoch. `first` is
    the number of the first trial with these settings, if its process died and it was begun again.
    """

    number: int
    first: int
    state: Literal["done", "pruned", "failed"]
    settings: Mapping[str, Setting]
    score: float = nan
    seconds: float = nan
    error: str = ""


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that were trained to the end, best first; of equal ones the earlier first."""
    done = [each for each in trials if each.state == "done"]
    return sorted(done, key=lambda each: (-each.score, each.number))


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Write `trials.csv` and `trials.parquet`, one row a trial in the order in which they began."""
    frame = _frame(trials)
    with writing(folder / "trials.csv") as draft:
        frame.write_csv(draft)
    with writing(folder / "trials.parquet") as draft:
        frame.write_parquet(draft)


def _frame(trials: Sequence[Trial]) -> pl.DataFrame:
    names = ("number", "state", "score", "seconds", "error")
    columns = [pl.Series(name, [getattr(each, name) for each in trials]).fill_nan(None)
               if name in {"score", "seconds"}
               else pl.Series(name, [getattr(each, name) for each in trials])
               for name in names]  # fmt: skip
    keys = list(trials[0].settings) if trials else []
    columns += [_column(key, [each.settings.get(key) for each in trials]) for key in keys]
    return pl.DataFrame(columns).with_columns(pl.col("score", "seconds").fill_nan(None))


def _column(key: str, values: Sequence[Setting]) -> pl.Series:
    """A column of numbers if all values are numbers, else of texts."""
    known = [each for each in values if each is not None]
    if all(isinstance(each, int | float) and not isinstance(each, bool) for each in known):
        return pl.Series(key, values, strict=False)
    return pl.Series(key, [None if each is None else setting_text(each) for each in values])


def setting_text(setting: Setting) -> str:
    """A setting as text.

    >>> [setting_text(each) for each in (0.00005, 256, 0.30000000000000004, True, "[4, 6]", None)]
    ['5e-05', '256', '0.3', 'true', '[4, 6]', 'none']
    """
    if setting is None:
        return "none"
    if isinstance(setting, bool):
        return json.dumps(setting)
    return f"{setting:.4g}" if isinstance(setting, float) else str(setting)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """A short name for each key: as few of its last parts as make it unique.

    >>> short_names(["training.heads_lr", "members.a.seed", "members.b.seed"])
    {'training.heads_lr': 'heads_lr', 'members.a.seed': 'a.seed', 'members.b.seed': 'b.seed'}
    """
    names = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]
        others = [f".{each}" for each in keys if each != key]
        names[key] = next(
            (each for each in endings if not any(other.endswith(f".{each}") for other in others)), key
        )
    return names


def trials_table(trials: Sequence[Trial], *, num_shown: int = 10) -> "Table":
    """The best trials for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption="Score: on the validation part. The best of many trials is slightly too high.",
        caption_justify="left",
    )
    best = ranked(trials)[:num_shown]
    keys = list(best[0].settings) if best else []
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    for name in short_names(keys).values():
        table.add_column(name, justify="right", overflow="fold")
    for index, each in enumerate(best):
        texts = [Text(setting_text(each.settings[key])) for key in keys]
        table.add_row(
            f"{each.number:,}", f"{each.score:.4f}", *texts, style="bold" if index == 0 else ""
        )
    return table


def counts_text(trials: Sequence[Trial]) -> str:
    """How many trials were finished, stopped and failed, in a line.

    >>> counts_text([Trial(number=0, first=0, state="failed", settings={})])
    '1 trial: 0 trained to the end, 0 stopped early, 1 failed.'
    """
    counts = Counter(each.state for each in trials)
    return (
        f"{len(trials):,} trial{'' if len(trials) == 1 else 's'}: {counts['done']:,} trained to the "
        f"end, {counts['pruned']:,} stopped early, {counts['failed']:,} failed."
    )


@dataclass(frozen=True)
class Findings:
    """All trials in the order in which they began, and the importance of each key for the score.

    `importances` add up to 1; they are empty if there are too few trials.
    """

    space: Space
    sampler: SamplerName
    trials: Sequence[Trial]
    importances: Mapping[str, float]

    @cached_property
    def ranking(self) -> list[Trial]:
        """The trials that were trained to the end, best first."""
        return ranked(self.trials)

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return self.ranking[0] if self.ranking else None

    @property
    def best_recipe(self) -> Recipe | None:
        """The recipe of the best trial."""
        return self.space.recipe(self.best.settings) if self.best else None
