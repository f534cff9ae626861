"""The study: draws the settings of the next trial, and stores every trial's result in a file.

Only one process at a time has a study open. Trials that were running when it died are begun again with
the same settings.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from facetry.errors import FolderDamaged, MissingExtra
from facetry.experiments.tune.config import SamplerName
from facetry.experiments.tune.space import Choices, Dimension, Space
from facetry.experiments.tune.trials import Trial

if TYPE_CHECKING:
    import optuna

_NAME = "facetry"
_TIMEOUT_S = 60.0
_NUM_TRIES = 3
_NUM_STARTUP = 5  # pruning starts after so many trials
_MIN_FOR_IMPORTANCES = 10
_MIN_BEST, _BEST_SHARE = 5, 0.1  # with fewer best trials PED-ANOVA is unreliable


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a space is searched: by which sampler, with which seed, in how many trials.

    No trial is pruned in its first `num_unpruned_epochs`.
    """

    sampler: SamplerName
    seed: int
    num_trials: int
    num_unpruned_epochs: int = 3


@contextmanager
def open_study(file: Path, space: Space, plan: Plan) -> Iterator["StudyStore"]:
    """Open the study in `file`, which is created if it does not exist.

    Raises:
        MissingExtra: Optuna is not installed.
        FolderDamaged: the file is not a study, or is damaged.
    """
    optuna = _import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(file, timeout=_TIMEOUT_S, check_same_thread=False)
        connection.execute(
            "PRAGMA journal_mode=WAL"
        )  # else each of many small writes waits for the disk
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    try:
        # The URL only names the kind of database: a path may hold characters that a URL may not.
        storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
        study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_NUM_STARTUP, plan.num_unpruned_epochs + 1),
            load_if_exists=True,
        )
    except (SQLAlchemyError, sqlite3.Error, RuntimeError) as error:
        raise FolderDamaged(
            f"The study {file} cannot be read: {error}", hint="Delete its folder to start again."
        ) from error
    try:
        yield StudyStore(study, space, plan)
    finally:
        storage.remove_session()
        storage.engine.dispose()  # merges the write-ahead log into the file


class StudyStore:
    """The trials of an open study.

    Settings depend on the seed, on the number of trials begun and, for `tpe`, on the results of
    finished trials: a study that was interrupted continues as if it had not been.
    """

    def __init__(self, study: "optuna.Study", space: Space, plan: Plan) -> None:
        self.study = study
        self.space = space
        self.plan = plan
        self.distributions = {key: _distribution(each) for key, each in space.dimensions.items()}
        self.num_begun = 0
        self._requeue_running()
        for each in study.get_trials(deepcopy=False):
            self.num_begun += not _is_lost(each) and not _is_waiting(each)

    @property
    def num_left(self) -> int:
        """How many trials are still to begin."""
        return max(0, self.plan.num_trials - self.num_begun)

    def begin(self) -> "optuna.Trial | None":
        """The next trial; None if all of the planned trials were begun."""
        if not self.num_left:
            return None
        self.study.sampler = _sampler(self.space, self.plan, self.num_begun)
        trial = self.study.ask(self.distributions)
        self.num_begun += 1
        return trial

    def should_prune(self, trial: "optuna.Trial", epoch: int, score: float) -> bool:
        """Record the score after an epoch; whether the trial should be stopped."""
        trial.report(score, epoch)
        return bool(trial.should_prune())

    def finish(self, trial: "optuna.Trial", score: float) -> None:
        """Record a trial that was trained to the end; without a score it counts as failed."""
        if isfinite(score):
            self.study.tell(trial, score)
        else:
            self.fail(trial, "It has no score.")

    def prune(self, trial: "optuna.Trial") -> None:
        """Record a trial that was stopped because it scored low."""
        self.study.tell(trial, state=_states().PRUNED)

    def fail(self, trial: "optuna.Trial", reason: str) -> None:
        """Record a trial that could not be trained."""
        trial.set_user_attr("error", reason)
        self.study.tell(trial, state=_states().FAIL)

    def restart(self, trial: "optuna.Trial", reason: str) -> None:
        """Begin a trial again whose process died; after too many attempts it has failed."""
        num_tries = trial.user_attrs.get("num_tries", 0) + 1
        if num_tries >= _NUM_TRIES:
            self.fail(trial, reason)
            return
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        self._requeue(frozen, num_tries)
        self.num_begun -= 1

    def waiting(self) -> set[int]:
        """The first numbers of trials that will be begun again."""
        return {
            first_number(each) for each in self.study.get_trials(deepcopy=False) if _is_waiting(each)
        }

    def trials(self) -> list[Trial]:
        """The finished trials, in the order in which they began."""
        return [
            _plain(each)
            for each in self.study.get_trials(deepcopy=False)
            if each.state.is_finished() and not _is_lost(each)
        ]

    def importances(self) -> dict[str, float]:
        """How strongly each key decides whether a trial is among the best (PED-ANOVA); the sum is 1.

        The best are a tenth, at least five. Empty if too few trials were trained to the end.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        done = self.study.get_trials(deepcopy=False, states=(_states().COMPLETE,))
        if len(done) < _MIN_FOR_IMPORTANCES or len({each.value for each in done}) < 2:
            return {}
        share = max(_BEST_SHARE, _MIN_BEST / len(done))
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
        found = get_param_importances(self.study, evaluator=evaluator)
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def _requeue_running(self) -> None:
        """Queue the trials again that were running when the last process died."""
        found = self.study.get_trials(deepcopy=False)
        waiting = self.waiting()
        for each in found:
            if not _is_running(each):
                continue
            if (
                first_number(each) in waiting
            ):  # already queued again: the process died before this was recorded
                self.study.tell(each.number, state=_states().FAIL)
            else:
                self._requeue(each, each.user_attrs.get("num_tries", 0))

    def _requeue(self, lost: "optuna.trial.FrozenTrial", num_tries: int) -> None:
        """Mark a trial as failed and queue a new one with its settings."""
        import optuna

        new = optuna.create_trial(
            state=_states().WAITING,
            params=lost.params,
            distributions=lost.distributions,
            user_attrs={"first": first_number(lost), "num_tries": num_tries},
            system_attrs=lost.system_attrs,
        )
        self.study.add_trial(new)
        self.study.tell(lost.number, state=_states().FAIL)


def first_number(trial: "optuna.Trial | optuna.trial.FrozenTrial") -> int:
    """The number that a trial had when it was first begun."""
    return int(trial.user_attrs.get("first", trial.number))


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("Tuning", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _is_running(trial: "optuna.trial.FrozenTrial") -> bool:
    return bool(trial.state == _states().RUNNING)


def _is_waiting(trial: "optuna.trial.FrozenTrial") -> bool:
    return bool(trial.state == _states().WAITING)


def _is_lost(trial: "optuna.trial.FrozenTrial") -> bool:
    """Whether a trial's process died: one that failed otherwise has a reason recorded."""
    return bool(trial.state == _states().FAIL) and "error" not in trial.user_attrs


def _plain(trial: "optuna.trial.FrozenTrial") -> Trial:
    states = _states()
    names = {states.COMPLETE: "done", states.PRUNED: "pruned", states.FAIL: "failed"}
    fields: dict[str, Any] = {"state": names[trial.state], "error": trial.user_attrs.get("error", "")}
    if trial.value is not None:
        fields["score"] = trial.value
    if trial.duration is not None:
        fields["seconds"] = trial.duration.total_seconds()
    return Trial(number=trial.number, first=first_number(trial), settings=trial.params, **fields)


def _distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.settings)
    if dimension.is_whole:
        step = int(dimension.step or 1)
        return IntDistribution(int(dimension.low), int(dimension.high), dimension.is_log, step)
    return FloatDistribution(dimension.low, dimension.high, dimension.is_log, dimension.step)


def _sampler(space: Space, plan: Plan, num_begun: int) -> "optuna.samplers.BaseSampler":
    """The sampler of the next trial: a new one for each, so that it needs no stored state."""
    from optuna.samplers import GridSampler, RandomSampler, TPESampler

    class Grid(GridSampler):
        """A grid sampler that does not check after each trial whether the grid is done: that is slow."""

        def after_trial(self, *_: object) -> None:
            """Skip the check; `Plan.num_trials` ends the search."""

    seed = int(np.random.SeedSequence([plan.seed, num_begun]).generate_state(1)[0])
    if plan.sampler == "grid":
        return Grid(space.grid, seed=plan.seed)
    return RandomSampler(seed) if plan.sampler == "random" else TPESampler(seed=seed)
