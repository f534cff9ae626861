"""What trains a trial: heads on features made once, or a training from photos to a model folder."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Protocol

from facetry.experiments.compare.rows import ComparisonInputs, build_model
from facetry.experiments.tune.space import Space
from facetry.recipe import ClassifierRecipe, Recipe
from facetry.runtime.config import find_key, keys
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.resumable import partial_folder
from facetry.runtime.workers import JobReporter, run_in_worker

OnEpoch = Callable[[int, float], None]
"""Told the number of an epoch, from 1, and the score after it; raises `Pruned` to stop the trial."""

FEATURES = "features.safetensors"
"""The features of all products that training looks at, in a study's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What a trial asks after an epoch, from 1: whether to stop."""

    epoch: int
    score: float


class Pruned(Exception):
    """A trial lags behind and goes no further."""


class TrialRunner(Protocol):
    """What trains one recipe. It is sent to the worker processes that do so."""

    @property
    def is_light(self) -> bool:
        """Whether a trial is too small to make use of several cores."""
        ...

    def prepare(self, reporter: Reporter) -> None:
        """Do, once, what all trials need."""
        ...

    def score(self, recipe: Recipe, place: Path, on_epoch: OnEpoch | None) -> float:
        """Train a recipe, with `place` as its own folder; the score on the validation part.

        It depends on the recipe alone, whatever was trained before.
        """
        ...


def choose_runner(space: Space, inputs: ComparisonInputs, folder: Path) -> TrialRunner:
    """The cheapest runner that does justice to all recipes of a space."""
    base = space.base
    if (
        isinstance(base, ClassifierRecipe)
        and base.backbone.frozen
        and suits_stored_features(base, space.dimensions)
    ):
        return FeatureTrialRunner(inputs=inputs, base=base, folder=folder)
    return TrainingTrialRunner(inputs=inputs)


def suits_stored_features(base: ClassifierRecipe, varied: Iterable[str]) -> bool:
    """Whether features of one photo each, and heads on them, are all that a trial needs.

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
    """What a worker does: train one recipe; its score, None where it was stopped between epochs."""

    def on_epoch(epoch: int, score: float) -> None:
        if reporter.ask(Epoch(epoch=epoch, score=score)):
            raise Pruned

    try:
        return runner.score(recipe, folder, on_epoch if is_pruning else None)
    except Pruned:
        return None


@dataclass(frozen=True, kw_only=True)
class FeatureTrialRunner:
    """Heads on the features of a frozen backbone, which are made once and kept in `folder`."""

    inputs: ComparisonInputs
    base: ClassifierRecipe
    folder: Path

    @property
    def is_light(self) -> bool:
        """See `TrialRunner`."""
        return True

    def prepare(self, reporter: Reporter) -> None:
        """Make the features, in a process of its own: this one stays without torch."""
        if not (self.folder / FEATURES).is_file():
            run_in_worker(_embed, self.inputs, self.base, self.folder / FEATURES, reporter=reporter)

    def score(self, recipe: Recipe, place: Path, on_epoch: OnEpoch | None) -> float:  # noqa: ARG002
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
    """Any recipe, trained and scored as `facetry train` does it."""

    inputs: ComparisonInputs

    @property
    def is_light(self) -> bool:
        """See `TrialRunner`."""
        return False

    def prepare(self, reporter: Reporter) -> None:
        """Nothing is shared."""

    def score(self, recipe: Recipe, place: Path, on_epoch: OnEpoch | None) -> float:
        """See `TrialRunner`; the model folder is `place`. Members of an ensemble tell of no epochs."""
        log = partial_folder(place) / "training" / "log.jsonl"
        build_model(self.inputs, recipe, place, reporter=_Watch(log, on_epoch) if on_epoch else SILENT)
        metrics = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
        total = metrics["validation"]["total"]
        return nan if total is None else float(total)


@dataclass
class _Watch:
    """A reporter that looks, whenever work goes on, for new epochs in the log of a training."""

    log: Path
    on_epoch: OnEpoch
    num_told: int = 0
    num_bytes: int = 0

    def say(self, text: str) -> None:
        """Nobody listens."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """Nobody looks, but the log may have grown."""
        yield self.look

    def look(self, _: int) -> None:
        if not self.log.is_file() or self.log.stat().st_size == self.num_bytes:
            return
        text = self.log.read_text(encoding="utf-8")
        self.num_bytes = self.log.stat().st_size
        whole = text[: text.rfind("\n") + 1].splitlines()
        for line in whole[self.num_told :]:
            row = json.loads(line)
            self.num_told += 1
            self.on_epoch(row["epoch"], nan if row["score"] is None else row["score"])
