"""The state of a training, and when it is saved: at intervals, after epochs, and on SIGTERM.

A step depends on this state and the seed alone: order, augmentation and dropout are functions of
(seed, epoch, step, row), so the state of no random generator is saved.

Shapes: H heads.
"""

import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from facetry.errors import WriteFailed
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.signals import Stop, Stopped
from facetry.training import checkpoints
from facetry.training.distributed.processes import SINGLE_PROCESS, Processes
from facetry.training.distributed.sharding import gather, load_optimiser, load_weights
from facetry.training.optimiser import MovingAverage
from facetry.training.step_statistics import StepStatistics


def seed_torch(*numbers: int) -> None:
    """Seed torch's generators on CPU and GPUs with numbers of 0 or more, such as (seed, epoch, step).

    >>> seed_torch(0, 3, 7)
    >>> first = torch.rand(2)
    >>> seed_torch(0, 3, 7)
    >>> torch.equal(torch.rand(2), first)
    True
    """
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


@dataclass(kw_only=True)
class TrainingState:
    """Model, optimiser, loss scaling, averaged weights, progress, and the best weights so far.

    `epoch` counts finished epochs, `step` the finished steps of the current epoch and `num_steps` all
    finished steps. A step goes through the model in at least `num_parts` parts. `statistics` are those
    of the current epoch.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: MovingAverage | None = None
    epoch: int = 0
    step: int = 0
    num_steps: int = 0
    num_parts: int = 1
    statistics: StepStatistics = field(default_factory=StepStatistics)
    best_score: float = -1.0
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_file: str = ""

    def averaged(self) -> AbstractContextManager[None]:
        """A context in which the model has its averaged weights, if there are any."""
        return self.average.applied() if self.average else nullcontext()

    def keep_best(self, score: float) -> None:
        """Copy the weights if `score` beats the best so far; with a NaN score, always."""
        if math.isnan(score) or score > self.best_score:
            self.best_score = -1.0 if math.isnan(score) else score
            self.best_weights = {
                name: each.detach().cpu().clone()
                for name, each in gather(self.model.state_dict()).items()
            }
            self.best_step, self.best_file = self.num_steps, ""

    def end_step(self, step: StepStatistics) -> None:
        """Count a step as done."""
        self.step, self.num_steps, self.statistics = (
            self.step + 1,
            self.num_steps + 1,
            self.statistics + step,
        )

    def end_epoch(self) -> None:
        """Count the current epoch as done."""
        self.epoch, self.step, self.statistics = self.epoch + 1, 0, StepStatistics()

    def save(self, folder: Path | None) -> None:
        """Write a checkpoint below `folder` atomically, then remove old ones.

        With None another process writes, and this one only sends its shards of the weights.

        Raises:
            WriteFailed: it could not be written; the older ones are intact.
        """
        content = gather(self._content(), is_kept=folder is not None)
        if folder is None:
            return
        directory = folder / checkpoints.FOLDER
        try:
            if self.best_weights and not self.best_file:
                self.best_file = checkpoints.write_checkpoint(
                    directory, "best", self.best_step, self.best_weights
                )
            content["best_file"] = self.best_file
            written = checkpoints.write_checkpoint(directory, "step", self.num_steps, content)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            if not checkpoints.is_refused(error):
                raise
            raise WriteFailed(
                f"The checkpoint in epoch {self.epoch + 1} could not be written: {error}",
                hint="The one before is intact. Make room on the disk, then run the same command again.",
            ) from error
        checkpoints.prune(directory, written)

    def restore(self, folder: Path, reporter: Reporter = SILENT) -> bool:
        """Load the newest undamaged checkpoint below `folder`; False where there is no checkpoint.

        Raises:
            FolderDamaged: there are checkpoints, and all are damaged.
        """
        found = checkpoints.states(folder / checkpoints.FOLDER)
        for path in found:
            if checkpoints.is_whole(path):
                content = checkpoints.read_checkpoint(path)
                best = path.with_name(content["best_file"]) if content["best_file"] else None
                if best is None or checkpoints.is_whole(best):
                    self._load(content, path)
                    self.best_weights = checkpoints.read_checkpoint(best) if best else {}
                    return True
            reporter.say(f"The checkpoint {path.name} is damaged and is passed over.")
        if found:
            raise checkpoints.damaged(found[0], "no checkpoint beside it is whole either.")
        return False

    def describe(self, num_epochs: int) -> str:
        """How far the training is, as a sentence."""
        steps = "1 step" if self.step == 1 else f"{self.step} steps"
        further = f", {steps} into the next" if self.step else ""
        return f"Going on after epoch {self.epoch} of {num_epochs}{further}."

    def _content(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "statistics": self.statistics.state_dict(),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def _load(self, content: Mapping[str, Any], path: Path) -> None:
        try:
            load_weights(self.model, content["model"])
            load_optimiser(self.optimiser, content["optimiser"])
            self.scaler.load_state_dict(content["scaler"])
            if self.average:
                self.average.load_state_dict(content["average"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoints.damaged(path, error) from error
        self.statistics = StepStatistics.from_state_dict(content["statistics"])
        for name in _PLAIN:
            setattr(self, name, content[name])


_PLAIN = ("epoch", "step", "num_steps", "num_parts", "best_score", "best_step", "best_file")
"""The fields that a checkpoint stores under their own names."""


MAX_SAVING_SHARE = 0.1
"""After an epoch the state is not saved if saving has taken a larger share of the time so far."""


class Pace(Protocol):
    """The part of a recipe that says how long to train and how often to save."""

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        ...

    @property
    def save_every_s(self) -> float:
        """The time between two checkpoints inside an epoch."""
        ...


class Saving:
    """Saves the state of a training into its folder, if it has one.

    The main process decides when, and writes; the others send it their shards of the weights.
    """

    def __init__(
        self,
        state: TrainingState,
        folder: Path | None,
        pace: Pace,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.state = state
        self.folder = folder
        self.pace = pace
        self.processes = processes
        self._started = self._saved = time.perf_counter()
        self._spent_s = 0.0

    def after_step(self, stop: Stop) -> None:
        """Save if the time since the last checkpoint is up, or if training is to stop.

        Raises:
            Stopped: SIGTERM was received.
            WriteFailed: the checkpoint could not be written.
        """
        waited_s = time.perf_counter() - self._saved
        is_time = self.processes.is_main and waited_s >= self.pace.save_every_s
        is_time, is_requested = self.processes.all_reduce_any(is_time, stop.is_requested)
        if is_time or is_requested:
            self._save()
        if is_requested:
            raise Stopped

    def after_epoch(self) -> None:
        """Save, unless that would take too large a share of the time; after the last one always.

        Raises:
            WriteFailed: the checkpoint could not be written.
        """
        is_last = self.state.epoch == self.pace.epochs
        is_cheap = self._spent_s <= MAX_SAVING_SHARE * (time.perf_counter() - self._started)
        (is_time,) = self.processes.all_reduce_any((is_last or is_cheap) and self.processes.is_main)
        if is_time:
            self._save()

    def _save(self) -> None:
        if self.folder:
            started = time.perf_counter()
            self.state.save(self.folder if self.processes.is_main else None)
            self._saved = time.perf_counter()
            self._spent_s += self._saved - started
