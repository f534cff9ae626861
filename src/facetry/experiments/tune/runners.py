"""How a trial is trained: only heads on stored features, or a whole model from photos."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Protocol

from facetry.experiments.compare.rows import ComparisonInputs, build_model
from facetry.experiments.tune.space import Space
from facetry.models.folder import METRICS
from facetry.recipe import ClassifierRecipe, Recipe
from facetry.runtime.config import find_key, keys
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.resumable import partial_folder
from facetry.runtime.workers import JobReporter, run_in_worker

OnEpoch = Callable[[int, float], None]
"""Called with the number of an epoch, from 1, and its score; raises `Pruned` to stop the trial."""

FEATURES = "features.safetensors"
"""File in a study's folder with the features of all products of training and validation part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Sent by a trial after each epoch, from 1; it then waits for the decision whether to prune it."""

    epoch: int
    score: float


class Pruned(Exception):
    """The trial scores low and is stopped."""


class TrialRunner(Protocol):
    """Trains one recipe. It is pickled and sent to the worker processes."""

    @property
    def is_light(self) -> bool:
        """Whether a trial is too small to make use of several cores."""
        ...

    def prepare(self, reporter: Reporter) -> None:
        """Do the work that all trials share, once."""
        ...

    def score(self, recipe: Recipe, folder: Path, on_epoch: OnEpoch | None) -> float:
        """Train a recipe, with `folder` for its files; the score on the validation part.

        The score depends on the recipe alone, not on trials before.
        """
        ...


def choose_runner(space: Space, inputs: ComparisonInputs, folder: Path) -> TrialRunner:
    """The fastest runner that can train all recipes of a space."""
    base = space.base
    if (
        isinstance(base, ClassifierRecipe)
        and base.backbone.frozen
        and suits_stored_features(base, space.dimensions)
    ):
        return FeatureTrialRunner(inputs=inputs, base=base, folder=folder)
    return TrainingTrialRunner(inputs=inputs)


def suits_stored_features(base: ClassifierRecipe, varied: Iterable[str]) -> bool:
    """Whether trials need only train heads, on one stored feature vector for each product.

    `varied` are the keys in which trials differ.
    """
    recipe = type(base)
    tuned = [find_key(recipe, name.split(".")) for name in varied]
    changed = [key for key in keys(recipe) if key.is_changed(base)]
    return all(key and key.facts.stored_features == "tuned" for key in tuned) and not any(
        key.facts.stored_features == "default" for key in changed
    )


def run_trial(
    runner: TrialRunner, recipe: Recipe, folder: Path, is_pruning: bool, *, reporter: JobReporter
) -> float | None:
    """Train one recipe in a worker process; its score, None if it was pruned."""

    def on_epoch(epoch: int, score: float) -> None:
        if reporter.ask(Epoch(epoch=epoch, score=score)):
            raise Pruned

    try:
        return runner.score(recipe, folder, on_epoch if is_pruning else None)
    except Pruned:
        return None


@dataclass(frozen=True, kw_only=True)
class FeatureTrialRunner:
    """Trains heads on the features of a frozen backbone, which are computed once into `folder`."""

    inputs: ComparisonInputs
    base: ClassifierRecipe
    folder: Path

    @property
    def is_light(self) -> bool:
        """See `TrialRunner`."""
        return True

    def prepare(self, reporter: Reporter) -> None:
        """Compute the features in a subprocess, so that this process need not import torch."""
        if not (self.folder / FEATURES).is_file():
            run_in_worker(_embed, self.inputs, self.base, self.folder / FEATURES, reporter=reporter)

    def score(self, recipe: Recipe, folder: Path, on_epoch: OnEpoch | None) -> float:  # noqa: ARG002
        """See `TrialRunner`; no files are written."""
        from facetry.experiments.tune.heads import score_heads

        assert isinstance(recipe, ClassifierRecipe)
        return score_heads(self.inputs, recipe, self.folder / FEATURES, on_epoch)


def _embed(
    inputs: ComparisonInputs, recipe: ClassifierRecipe, file: Path, *, reporter: Reporter
) -> None:
    from facetry.experiments.tune.heads import embed_catalogue

    embed_catalogue(inputs, recipe, file, reporter=reporter)


@dataclass(frozen=True, kw_only=True)
class TrainingTrialRunner:
    """Trains and scores any recipe as `facetry train` does."""

    inputs: ComparisonInputs

    @property
    def is_light(self) -> bool:
        """See `TrialRunner`."""
        return False

    def prepare(self, reporter: Reporter) -> None:
        """Nothing is shared."""

    def score(self, recipe: Recipe, folder: Path, on_epoch: OnEpoch | None) -> float:
        """See `TrialRunner`; `folder` becomes the model folder. Ensembles report no epochs."""
        log = partial_folder(folder) / "training" / "log.jsonl"
        build_model(
            self.inputs, recipe, folder, reporter=_LogWatcher(log, on_epoch) if on_epoch else SILENT
        )
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        total = metrics["validation"]["total"]
        return nan if total is None else float(total)


@dataclass
class _LogWatcher:
    """A reporter that, on every progress step, passes new epochs of the training log to `on_epoch`."""

    log: Path
    on_epoch: OnEpoch
    num_passed: int = 0
    num_bytes: int = 0

    def say(self, text: str) -> None:
        """Print nothing."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """Show nothing; each step checks the log."""
        yield self.check_log

    def check_log(self, _: int) -> None:
        if not self.log.is_file() or self.log.stat().st_size == self.num_bytes:
            return
        text = self.log.read_text(encoding="utf-8")
        self.num_bytes = self.log.stat().st_size
        complete = text[: text.rfind("\n") + 1].splitlines()
        for line in complete[self.num_passed :]:
            row = json.loads(line)
            self.num_passed += 1
            self.on_epoch(row["epoch"], nan if row["score"] is None else row["score"])
