"""Work that takes longer than a page may: one at a time of a name, in a thread, with its progress."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from facetry.errors import FacetryError
from facetry.runtime.progress import Advance, Reporter
from facetry.service.logs import log
from facetry.service.problems import Problem

Work = Callable[[Reporter], object]

SOON_S: Final = 1.5
"""What work has ended in this time can be shown with the answer that began it."""

_WAIT_S: Final = 10.0


class TaskStopped(Exception):
    """The service is closing: what is done stays, and the same work goes on there later."""


@dataclass(kw_only=True)
class Task:
    """Some work: whether it runs, how far it is, and why it failed, "" if it did not.

    `num_done` and `total` count the items of the step that is named; `total` is None if it is unknown.
    """

    name: str
    is_running: bool = True
    step: str = ""
    num_done: int = 0
    total: int | None = None
    error: str = ""


class Tasks:
    """The tasks of a service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._stopping = threading.Event()

    def start(self, name: str, work: Work) -> Task:
        """Begin some work, unless work of that name is running: that is returned then."""
        with self._lock:
            found = self._tasks.get(name)
            if found is not None and found.is_running:
                return found
            task = Task(name=name)
            thread = threading.Thread(
                target=self._run, args=(task, work), name=f"facetry-{name}", daemon=True
            )
            self._tasks[name], self._threads[name] = task, thread
            thread.start()
            return task

    def all(self) -> dict[str, Task]:
        """The last work of each name since the service started, as it is now.

        To be asked for before what work writes is read: what ends in between is then shown as still
        running, and looked at again, and not as over without a result.
        """
        return {name: replace(task) for name, task in list(self._tasks.items())}

    def get(self, name: str) -> Task | None:
        """One of `all`; None if there is none of that name."""
        return self.all().get(name)

    def wait(self, name: str, timeout_s: float) -> None:
        """Wait for the last work of a name, but not for longer than a time."""
        thread = self._threads.get(name)
        if thread is not None:
            thread.join(timeout_s)

    def close(self) -> None:
        """Have all work stop at its next item, and wait for it for some seconds."""
        self._stopping.set()
        until = time.monotonic() + _WAIT_S
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, task: Task, work: Work) -> None:
        try:
            work(_Progress(task, self._stopping))
        except TaskStopped:
            task.error = "Stopped, as the service was. Begin it again: what is done stays."
        except (FacetryError, Problem) as error:
            task.error = f"{error.message} {error.hint}".strip()
        except Exception as error:  # noqa: BLE001  # a thread's boundary: logged and shown
            log(f"{task.name}_failed", level=logging.ERROR, error=error)
            task.error = "It failed unexpectedly. The service's log says more."
        finally:
            task.is_running = False


class _Progress:
    """A reporter that writes into a task, and stops the work when it is told to."""

    def __init__(self, task: Task, stopping: threading.Event) -> None:
        self._task = task
        self._stopping = stopping

    def say(self, text: str) -> None:
        """Lines are not kept: pages show figures."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        """Show how far a step is."""
        self._task.step, self._task.num_done, self._task.total = description, 0, total

        def advance(count: int) -> None:
            self._task.num_done += count
            if self._stopping.is_set():
                raise TaskStopped

        yield advance
