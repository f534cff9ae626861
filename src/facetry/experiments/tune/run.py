"""Searches a space for the best recipe: runs the trials, and writes the tables and the report.

OUT holds the study, the tables, the report and the best recipe. The same command resumes where it
stopped; with a larger number of trials it adds to the study.
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
from facetry.experiments.tune.folder import (
    REPORT,
    SPLIT,
    STUDY,
    TRIALS,
    open_or_resume_study,
    trial_name,
)
from facetry.experiments.tune.report import write_report
from facetry.experiments.tune.runners import choose_runner, run_trial
from facetry.experiments.tune.space import Space
from facetry.experiments.tune.study import Plan, StudyStore, first_number, open_study
from facetry.experiments.tune.trials import Findings, ranked, write_trials
from facetry.recipe import dump_recipe
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.workers import Asked, Died, Done, Event, Failed, WorkerPool

if TYPE_CHECKING:
    import optuna

BEST = "best.yaml"
_DEFAULT_TRIALS = 100
_MIN_UNPRUNED_EPOCHS = 3


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
    # Relative paths count from the recipe's folder, and this folder is not that of the base recipe.
    return "\n".join(header) + "\n" + dump_recipe(recipe, base=Path.cwd())


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
        CatalogueError: the catalogue has errors.
        MissingExtra: Optuna is not installed.
        SettingError: a grid with a range without steps.
        NotEnoughData: a split without validation part.
        FolderError: an `out` that was made by something else.
        NoTrialScored: no trial has a score.
    """
    out = Path(out)
    plan = make_plan(space, config)
    if space.base.repairs is not None:
        catalogue = catalogue.with_repairs(space.base.repairs)
    catalogue.require_sound()
    catalogue.require_photos()
    if config.sampler == "grid" and plan.num_trials < (space.num_points or 0):
        reporter.say(f"{plan.num_trials:,} of the grid's {space.num_points:,} points, chosen at random.")
    with open_or_resume_study(out, space, config.sampler, catalogue, split, reporter) as inputs:
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
    """How a space is searched.

    Raises:
        SettingError: a grid with a range without steps.
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
        num_unpruned_epochs=max(_MIN_UNPRUNED_EPOCHS, epochs // 4),
    )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass
class _Search:
    """Starts trials in the worker pool and records their results, until there are enough."""

    store: StudyStore
    pool: WorkerPool
    out: Path
    is_pruning: bool
    reporter: Reporter
    running: dict[int, "optuna.Trial"] = field(default_factory=dict)

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
        except RecipeError as error:  # allowed one by one but not together
            self.store.fail(trial, error.message)
            advance(1)
            return
        self.running[trial.number] = trial
        folder = self.out / TRIALS / trial_name(first_number(trial))
        self.pool.start(trial.number, recipe, folder, self.is_pruning)

    def handle(self, number: int, event: Event, advance: Advance) -> None:
        trial = self.running[number]
        if isinstance(event, Asked):
            epoch = event.question
            self.pool.answer(number, self.store.should_prune(trial, epoch.epoch, epoch.score))
            return
        assert isinstance(event, Done | Failed | Died), "trials send no other event"
        del self.running[number]
        if isinstance(event, Died):
            num_begun = self.store.num_begun
            self.store.restart(trial, event.reason)
            if self.store.num_begun < num_begun:
                return  # it will be begun again
        elif isinstance(event, Failed):
            self.store.fail(trial, event.message)
            if event.trace:
                write_text(self.out / "errors" / f"{number:05d}.txt", event.trace)
        elif event.result is None:
            self.store.prune(trial)
        else:
            self.score(trial, event.result)
        self.remove_models()
        advance(1)

    def score(self, trial: "optuna.Trial", score: float) -> None:
        """Record a score, and report it if it is the best so far."""
        best = ranked(self.store.trials())[:1]
        self.store.finish(trial, score)
        if not best or score > best[0].score:
            self.reporter.say(f"Trial {trial.number:,}: {score:.4f}, the best so far.")

    def remove_models(self) -> None:
        """Remove all model folders but those of the best trial and of running or waiting ones."""
        folder = self.out / TRIALS
        if not folder.exists():
            return
        needed = {first_number(trial) for trial in self.running.values()} | self.store.waiting()
        needed |= {each.first for each in ranked(self.store.trials())[:1]}
        names = {trial_name(each) for each in needed}
        for each in folder.iterdir():
            if each.name.removesuffix(".partial") not in names:
                shutil.rmtree(each)
