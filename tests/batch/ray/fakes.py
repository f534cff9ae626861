"""A cluster without Ray: its workers are objects of this process, which die when they are told to."""

import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from facetry.batch.ray.actor import Worker
from facetry.batch.ray.messages import Died, Joined, Reply, Versions
from facetry.batch.source import Loaded
from facetry.errors import FacetryError
from facetry.runtime.progress import SILENT, Advance, Reporter
from tests.batch.workloads import Seeing

Rule = Callable[[int, Any], Reply | None]
"""What a worker, by its number, replies to a task (None: to be asked to join) instead of doing it."""


@dataclass
class InProcess:
    """Starts workers in this process; `rule` says which of their replies are others."""

    job: Any
    rule: Rule = lambda *_: None
    versions: Versions = field(default_factory=Versions.here)
    workers: dict[Hashable, Worker] = field(default_factory=dict)
    calls: dict[Hashable, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    num_started: int = 0
    most_at_work: int = 0
    stored: list[Any] = field(default_factory=list)
    begun: list[tuple[Hashable, int]] = field(default_factory=list)

    def start(self) -> Hashable:
        worker = self.num_started
        self.num_started += 1
        self.workers[worker] = Worker(drains=False)
        self.calls[worker] = ("join", (self.versions, pickle.dumps(self.job)))
        return worker

    def send(self, worker: Hashable, call: str, *arguments: Any) -> None:
        assert worker not in self.calls  # one at a time
        self.calls[worker] = (call, arguments)
        self.most_at_work = max(self.most_at_work, len(self.calls))

    def replies(self, timeout_s: float) -> list[tuple[Hashable, Reply]]:  # noqa: ARG002
        calls, self.calls = self.calls, {}
        return [(worker, self._reply(worker, *call)) for worker, call in calls.items()]

    def _reply(self, worker: Hashable, call: str, arguments: tuple[Any, ...]) -> Reply:
        assert isinstance(worker, int)
        if call == "begin":
            (stored,) = arguments
            item = self.stored[stored]
            self.begun.append((worker, item.number))
            if reply := self.rule(worker, item):
                return reply
            return self.workers[worker].begin(item)
        if call == "join" and (reply := self.rule(worker, None)):
            return reply
        made: Reply = getattr(self.workers[worker], call)(*arguments)
        return made

    def stop(self, worker: Hashable) -> None:
        del self.workers[worker]
        self.calls.pop(worker, None)

    def put(self, item: Any) -> int:
        self.stored.append(item)
        return len(self.stored) - 1

    def get(self, stored: Any) -> Any:
        return self.stored[stored]


@dataclass(frozen=True)
class Item:
    """A task of ten rows."""

    number: int
    num_rows: int = 10


@dataclass(frozen=True)
class Tens:
    """A job whose results are ten times the task's number."""

    fingerprint: str = "one"
    error: type[Exception] | None = None

    def open(self, reporter: Reporter) -> "Tens":
        reporter.say("opened")
        if self.error is FacetryError:
            raise self.error("no such model")
        return self

    def __call__(self, task: Item, advance: Advance, reporter: Reporter) -> int:
        for _ in range(task.num_rows):
            advance(1)
        if task.number == 7:
            reporter.say("seven")
        if self.error and task.number == 3:
            raise self.error("three")
        return 10 * task.number


@dataclass(frozen=True)
class SeeingSource:
    """A source of the predictor `Seeing`."""

    culprits: tuple[int, ...] = ()

    def open(self, reporter: Reporter = SILENT) -> Loaded:
        reporter.say("Engine: eyes.")
        return Loaded(predictor=Seeing(self.culprits), fingerprint="one")


def dies(*numbers: int, times: int = 10**6, **facts: Any) -> Rule:
    """Workers die, `times` times, on each of the tasks with these numbers."""
    left = dict.fromkeys(numbers, times)

    def rule(_: int, item: Any) -> Reply | None:
        if item is None or not left.get(item.number):
            return None
        left[item.number] -= 1
        return Died(reason="it was told to", **facts)

    return rule


def joins(**changes: Any) -> Joined:
    """A reply of a worker that joins."""
    return Joined(**{"name": "w", "fingerprint": "one", **changes})
