"""A worker: opens a job once, keeps it warm, and does one task after another.

A task is worked on in a thread, and each call from the driver waits for half a second at most: so one
channel carries progress, lines and results, a worker is never asked more than twice a second, and
signals reach the main thread in between.
"""

import os
import pickle
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facetry.batch.ray.messages import (
    Done,
    Failure,
    GivenBack,
    Joined,
    OpenJob,
    Report,
    Versions,
)
from facetry.errors import ClusterError
from facetry.runtime.progress import Advance
from facetry.runtime.signals import Stop, Stopped

REPORT_S = 0.5
"""How long a call waits for its task to end before it reports on the way."""


class Worker:
    """The class of the actors; its methods are called by a driver, one at a time.

    With `drains`, SIGTERM, which cloud machines are sent before they are taken away, does not end the
    process: the task in work is given back after its current batch.
    """

    def __init__(self, *, drains: bool = True) -> None:
        self.name = f"{socket.gethostname()}, process {os.getpid()}"
        self._stop = Stop()
        if drains and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stop.request)
        self._job: OpenJob | None = None
        self._said = _Said()

    def join(self, versions: Versions, job: bytes) -> Joined | Failure:
        """Open a pickled job, if this process has the driver's versions."""
        try:
            self._require(versions)
            self._job = pickle.loads(job).open(self._said)  # noqa: S301 - the cluster runs its driver's code
        except Exception as error:  # noqa: BLE001 - a worker's boundary: the driver raises it
            return self._located(Failure.of(error))
        lines = self._said.report().lines
        return Joined(name=self.name, fingerprint=self._job.fingerprint, lines=lines)

    def begin(self, task: Any) -> Report:
        """Begin a task, and report on it as soon as there is something to say."""
        threading.Thread(target=self._do, args=(task,), daemon=True).start()
        return self.report()

    def report(self) -> Report:
        """Wait until the task has ended, half a second at most, and report on it."""
        return self._said.wait(REPORT_S)

    def _require(self, versions: Versions) -> None:
        if (here := Versions.here()) != versions:
            raise ClusterError(
                f"A worker has {here}; the driver has {versions}",
                hint="Install the same versions on all machines of the cluster.",
            )

    def _do(self, task: Any) -> None:
        assert self._job is not None
        try:
            outcome: Done | Failure | GivenBack = Done(result=self._job(task, self._advance, self._said))
        except Stopped:
            outcome = GivenBack()
        except BaseException as error:  # noqa: BLE001 - a worker's boundary: the driver raises it
            outcome = self._located(Failure.of(error))
        self._said.end(outcome)

    def _advance(self, count: int) -> None:
        self._said.advance(count)
        if self._stop.is_requested:
            raise Stopped

    def _located(self, failure: Failure) -> Failure:
        """The failure with the worker's name in its message."""
        message = f"{failure.message} (on the worker {self.name})"
        return Failure(kind=failure.kind, message=message, hint=failure.hint, trace=failure.trace)


class _Said:
    """What is to be reported next; a `Reporter` that several threads may use."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_rows = 0
        self._lines: list[str] = []
        self._outcome: Done | Failure | GivenBack | None = None

    def say(self, text: str) -> None:
        """See `Reporter`."""
        with self._changed:
            self._lines.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """A bar that is not shown: the driver shows the one of the whole run."""
        yield lambda _: None

    def advance(self, count: int) -> None:
        """Count rows as done."""
        with self._changed:
            self._num_rows += count

    def end(self, outcome: Done | Failure | GivenBack) -> None:
        """The task has ended."""
        with self._changed:
            self._outcome = outcome
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> Report:
        """A report as soon as the task has ended, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._outcome is not None, timeout_s)
        return self.report()

    def report(self) -> Report:
        """What there is to report; it is not reported again."""
        with self._changed:
            found = Report(num_rows=self._num_rows, lines=tuple(self._lines), outcome=self._outcome)
            self._num_rows, self._lines, self._outcome = 0, [], None
        return found
