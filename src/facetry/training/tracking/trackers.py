"""The trackers of a training: its log files always, and the services that the user chose.

Services, and a caller's own trackers, get the same records as the files, except those that they got
before an interruption. One that fails gets no further records; training continues without it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facetry.runtime.progress import Reporter
from facetry.training.tracking.files import LogFiles
from facetry.training.tracking.records import EpochRecord, StepRecord, Tracker
from facetry.training.tracking.services import RunInfo, Service, open_service, run_id


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a training is: the number of epochs and steps done."""

    epoch: int = 0
    step: int = 0


@contextmanager
def tracking(folder: Path, done: Position, run_info: RunInfo, reporter: Reporter) -> Iterator[Tracker]:
    """Open a tracker for a training that continues after `done`, with its log in `folder`.

    Raises:
        WriteFailed: the log cannot be written.
    """
    files = LogFiles(folder, epoch=done.epoch, step=done.step)
    sent = Position(epoch=files.logged_epoch, step=files.logged_step)
    services = [
        FaultTolerantTracker(service, partial(_open, service, run_info, folder), sent, reporter)
        for service in run_info.services
    ]
    callbacks = [
        FaultTolerantTracker(type(each).__name__, partial(_given, each), sent, reporter)
        for each in run_info.callbacks
    ]
    tracker = TrackerGroup((files, *services, *callbacks))
    try:
        yield tracker
    finally:
        tracker.finish()


def _given(tracker: Tracker) -> Tracker:
    return tracker


def _open(service: Service, run_info: RunInfo, folder: Path) -> Tracker:
    return open_service(service, run_info, run_id(folder))


class TrackerGroup:
    """Several trackers as one: each gets every record."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def log_step(self, record: StepRecord) -> None:
        """Record a step in each."""
        for tracker in self._trackers:
            tracker.log_step(record)

    def log_epoch(self, record: EpochRecord) -> None:
        """Record an epoch in each."""
        for tracker in self._trackers:
            tracker.log_epoch(record)

    def finish(self) -> None:
        """Finish each."""
        for tracker in self._trackers:
            tracker.finish()


class FaultTolerantTracker:
    """Passes records to a tracker until it fails; then reports the error once and drops the rest.

    Records up to `sent` are skipped: the tracker got them before an interruption.
    """

    def __init__(
        self, name: str, open_tracker: Callable[[], Tracker], sent: Position, reporter: Reporter
    ) -> None:
        self._name = name
        self._sent = sent
        self._reporter = reporter
        self._tracker: Tracker | None = None
        self._attempt(lambda: setattr(self, "_tracker", open_tracker()))

    def log_step(self, record: StepRecord) -> None:
        """Record a step, unless it was sent before."""
        if (tracker := self._tracker) and record.step > self._sent.step:
            self._attempt(lambda: tracker.log_step(record))

    def log_epoch(self, record: EpochRecord) -> None:
        """Record an epoch, unless it was sent before."""
        if (tracker := self._tracker) and record.epoch > self._sent.epoch:
            self._attempt(lambda: tracker.log_epoch(record))

    def finish(self) -> None:
        """Finish the tracker."""
        if tracker := self._tracker:
            self._attempt(tracker.finish)

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 (no failure of a service may stop training)
            self._tracker = None
            reason = str(error).strip() or type(error).__name__
            self._reporter.say(f"Tracking with {self._name} stopped, training goes on: {reason}")
