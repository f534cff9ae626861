"""From a search space and a catalogue to the best recipe, with a report.

Everything lies in OUT: the study, the tables, the report and the best recipe. The same command goes
on where it stopped; with more trials asked for, the same study is added to.
"""

import os
import shutil
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import NoTrialScored, RecipeError
from facetry.experiments.tune.config import TuneConfig
from facetry.experiments.tune.folder import REPORT, SPLIT, STUDY, TRIALS, claim, place_name
from facetry.experiments.tune.report import write_report
from facetry.experiments.tune.runners import choose_runner, run_trial
from facetry.experiments.tune.space import Space
from facetry.experiments.tune.study import Plan, StudyStore, first_number, open_study
from facetry.experiments.tune.trials import Findings, ranked, write_trials
from facetry.recipe import dump_recipe
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.workers import Asked, Died, Done, Event, Failed, WorkerPool

BEST = "best.yaml"


def write_outputs(out: Path, findings: Findings) -> None:
    """Write `trials.csv`, `trials.parquet`, `best.yaml` and `report.html`."""
    write_trials(out, findings.trials)
    if text := _best_yaml(out, findings):
        write_text(out / BEST, text)
    write_report(out / REPORT, findings)


def _best_yaml(out: Path, findings: Findings) -> str:
    """The best recipe with a comment on how it was found; "" if there is none."""
    best, recipe = findings.best, findings.best_recipe
    if best is None or recipe is None:
        return ""
    header = (
        f"# Trial {best.number:,} of {len(findings.trials):,}: {best.score:.4f} on the validation part.",
        "#",
        f"#   facetry train {out / BEST} --catalogue CATALOGUE --split {out / SPLIT} --out MODEL",
        "#",
    )
    # Files of a recipe count from its own folder, and this one lies in another than its base did.
    return "\n".join(header) + "\n" + dump_recipe(recipe, base=Path.cwd())


if TYPE_CHECKING:
    import optuna

_DEFAULT_TRIALS = 100
_MIN_SPARED = 3


def tune(
    space: Space,
    catalogue: Catalogue,
    out: str | Path,
    config: TuneConfig,
    *,
    split: Split | None = None,
    reporter: Reporter = SILENT,
) -> Findings:
    """Train recipes of a space, rank them by their score on the validation part, write all to `out`.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        MissingExtra: Optuna is not installed.
        SettingError: a grid of ranges without steps.
        NotEnoughData: a split without validation part.
        FolderError: an `out` that holds something else.
        NoTrialScored: not one trial has a score.
    """
    out = Path(out)
    plan = make_plan(space, config)
    if space.base.repairs is not None:
        catalogue = catalogue.with_repairs(space.base.repairs)
    catalogue.require_sound()
    catalogue.require_photos()
    if config.sampler == "grid" and plan.num_trials < (space.num_points or 0):
        reporter.say(f"{plan.num_trials:,} of the grid's {space.num_points:,} points, drawn by chance.")
    with claim(out, space, config.sampler, catalogue, split, reporter) as inputs:
        runner = choose_runner(space, inputs, out)
        runner.prepare(reporter)
        with open_study(out / STUDY, space, plan) as store:
            num_workers = config.num_workers or (_num_cores() if runner.is_light else 1)
            num_workers = max(1, min(num_workers, store.num_left))
            num_threads = 1 if runner.is_light else max(1, _num_cores() // num_workers)
            with (
                WorkerPool(
                    partial(run_trial, runner), num_workers=num_workers, num_threads=num_threads
                ) as pool,
                reporter.bar("Trials", store.num_left) as advance,
            ):
                _Search(store, pool, out, config.prunes, reporter).run(advance)
            findings = Findings(space, config.sampler, store.trials(), store.importances())
        write_outputs(out, findings)
    if not findings.best:
        reasons = dict.fromkeys(each.error for each in findings.trials)
        raise NoTrialScored(
            f"None of {len(findings.trials):,} trials has a score: {' '.join(reasons)}",
            hint=f"{out} has a list of them.",
        )
    return findings


def make_plan(space: Space, config: TuneConfig) -> Plan:
    """How a space is gone through.

    Raises:
        SettingError: a grid of ranges without steps.
    """
    wanted = config.num_trials
    if config.sampler == "grid":
        num_points = prod(map(len, space.grid.values()))
        wanted = min(wanted or num_points, num_points)
    epochs = getattr(getattr(space.base, "training", None), "epochs", 0)
    return Plan(
        sampler=config.sampler,
        seed=space.base.seed,
        num_trials=wanted or _DEFAULT_TRIALS,
        num_spared_epochs=max(_MIN_SPARED, epochs // 4),
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass
class _Search:
    """Trials begun, heard of and written down, until there are enough."""

    store: StudyStore
    pool: WorkerPool
    out: Path
    is_pruning: bool
    reporter: Reporter
    under_way: dict[int, "optuna.Trial"] = field(default_factory=dict)

    def run(self, advance: Advance) -> None:
        while True:
            while not self.pool.is_full and (trial := self.store.begin()):
                self.start(trial, advance)
            if not self.pool.num_busy:
                return
            for number, event in self.pool.events():
                self.handle(number, event, advance)

    def start(self, trial: "optuna.Trial", advance: Advance) -> None:
        try:
            recipe = self.store.space.recipe(trial.params)
        except RecipeError as error:  # settings that are allowed one by one
            self.store.fail(trial, error.message)
            advance(1)
            return
        self.under_way[trial.number] = trial
        place = self.out / TRIALS / place_name(first_number(trial))
        self.pool.start(trial.number, recipe, place, self.is_pruning)

    def handle(self, number: int, event: Event, advance: Advance) -> None:
        trial = self.under_way[number]
        if isinstance(event, Asked):
            asked = event.question
            self.pool.answer(number, self.store.lags_behind(trial, asked.epoch, asked.score))
            return
        assert isinstance(event, Done | Failed | Died), "trials report nothing else"
        del self.under_way[number]
        if isinstance(event, Died):
            num_begun = self.store.num_begun
            self.store.lose(trial, event.reason)
            if self.store.num_begun < num_begun:
                return  # it is begun again
        elif isinstance(event, Failed):
            self.store.fail(trial, event.message)
            if event.trace:
                write_text(self.out / "errors" / f"{number:05d}.txt", event.trace)
        elif event.result is None:
            self.store.prune(trial)
        else:
            self.score(trial, event.result)
        self.tidy()
        advance(1)

    def score(self, trial: "optuna.Trial", score: float) -> None:
        """Write a score down, and say so if it is the best."""
        best = ranked(self.store.trials())[:1]
        self.store.finish(trial, score)
        if not best or score > best[0].score:
            self.reporter.say(f"Trial {trial.number:,}: {score:.4f}, the best so far.")

    def tidy(self) -> None:
        """Remove all model folders but the best one and what is under way."""
        folder = self.out / TRIALS
        if not folder.exists():
            return
        kept = {first_number(trial) for trial in self.under_way.values()} | self.store.in_line()
        kept |= {each.first for each in ranked(self.store.trials())[:1]}
        names = {place_name(each) for each in kept}
        for each in folder.iterdir():
            if each.name.removesuffix(".partial") not in names:
                shutil.rmtree(each)
