"""Who is told how a training goes: its files always, and the services that were asked for.

Services are told what the files are told, less what they were told before an interruption. A service
that fails costs itself the rest of the training, and never stops it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facetry.runtime.progress import Reporter
from facetry.training.tracking.files import LogFiles
from facetry.training.tracking.records import EpochRecord, StepRecord, Tracker
from facetry.training.tracking.services import About, Service, open_service, run_id


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a training is: epochs and steps that are done."""

    epoch: int = 0
    step: int = 0


@contextmanager
def tracking(folder: Path, done: Position, about: About, reporter: Reporter) -> Iterator[Tracker]:
    """A tracker for a training with its log in `folder` that goes on after `done`.

    Raises:
        WriteFailed: the log cannot be written.
    """
    files = LogFiles(folder, epoch=done.epoch, step=done.step)
    told = Position(epoch=files.told_epoch, step=files.told_step)
    listeners = [
        Forgiving(service, partial(_open, service, about, folder), told, reporter)
        for service in about.services
    ]
    tracker = Several((files, *listeners))
    try:
        yield tracker
    finally:
        tracker.finish()


def _open(service: Service, about: About, folder: Path) -> Tracker:
    return open_service(service, about, run_id(folder))


class Several:
    """Tells several trackers, one after the other."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log_step(self, record: StepRecord) -> None:
        """Tell each of a step."""
        for tracker in self._trackers:
            tracker.log_step(record)

    def log_epoch(self, record: EpochRecord) -> None:
        """Tell each of an epoch."""
        for tracker in self._trackers:
            tracker.log_epoch(record)

    def finish(self) -> None:
        """Have each finish."""
        for tracker in self._trackers:
            tracker.finish()


class Forgiving:
    """Tells a tracker until it fails, says so once, and then tells it no more.

    What lies up to `told` it knows from before an interruption: training that is done again is the same.
    """

    def __init__(
        self, name: str, opened: Callable[[], Tracker], told: Position, reporter: Reporter
    ) -> None:
        self._name = name
        self._told = told
        self._reporter = reporter
        self._tracker: Tracker | None = None
        self._dare(lambda: setattr(self, "_tracker", opened()))

    def log_step(self, record: StepRecord) -> None:
        """Tell of a step that has not been told."""
        if (tracker := self._tracker) and record.step > self._told.step:
            self._dare(lambda: tracker.log_step(record))

    def log_epoch(self, record: EpochRecord) -> None:
        """Tell of an epoch that has not been told."""
        if (tracker := self._tracker) and record.epoch > self._told.epoch:
            self._dare(lambda: tracker.log_epoch(record))

    def finish(self) -> None:
        """Have the tracker finish."""
        if tracker := self._tracker:
            self._dare(tracker.finish)

    def _dare(self, telling: Callable[[], None]) -> None:
        try:
            telling()
        except Exception as error:  # noqa: BLE001 (whatever a service does, training goes on)
            self._tracker = None
            reason = str(error).strip() or type(error).__name__
            self._reporter.say(f"{self._name} is told no more, training goes on: {reason}")
