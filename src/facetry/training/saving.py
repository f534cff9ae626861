"""When a training's state is saved: now and then, after an epoch, and when it is asked to stop."""

import time
from pathlib import Path
from typing import Protocol

from facetry.stopping import Stop, Stopped
from facetry.training.processes import ALONE, Processes
from facetry.training.state import TrainingState

MAX_SAVING_SHARE = 0.1
"""Epochs so short that saving would take a larger share of the time are not all saved."""


class Pace(Protocol):
    """What a recipe says of how long training goes on, and how often it is saved meanwhile."""

    @property
    def epochs(self) -> int:
        """How many there are."""
        ...

    @property
    def save_every_s(self) -> float:
        """The time between two checkpoints inside an epoch."""
        ...


class Saving:
    """Saves the state of a training into its folder, if it has one.

    The main process decides when, and writes; the others give it their parts of spread weights.
    """

    def __init__(
        self, state: TrainingState, folder: Path | None, pace: Pace, processes: Processes = ALONE
    ) -> None:
        self.state = state
        self.folder = folder
        self.pace = pace
        self.processes = processes
        self._started = self._saved = time.perf_counter()
        self._spent_s = 0.0

    def after_step(self, stop: Stop) -> None:
        """Save if it is time to, or if training is to stop.

        Raises:
            Stopped: it is.
            WriteFailed: the checkpoint could not be written.
        """
        waited_s = time.perf_counter() - self._saved
        is_time = self.processes.is_main and waited_s >= self.pace.save_every_s
        is_time, is_asked = self.processes.agree(is_time, stop.is_asked)
        if is_time or is_asked:
            self._save()
        if is_asked:
            raise Stopped

    def after_epoch(self) -> None:
        """Save, unless that would take too large a share of the time; after the last one always.

        Raises:
            WriteFailed: the checkpoint could not be written.
        """
        is_last = self.state.epoch == self.pace.epochs
        is_cheap = self._spent_s <= MAX_SAVING_SHARE * (time.perf_counter() - self._started)
        (is_time,) = self.processes.agree((is_last or is_cheap) and self.processes.is_main)
        if is_time:
            self._save()

    def _save(self) -> None:
        if self.folder:
            started = time.perf_counter()
            self.state.save(self.folder if self.processes.is_main else None)
            self._saved = time.perf_counter()
            self._spent_s += self._saved - started
