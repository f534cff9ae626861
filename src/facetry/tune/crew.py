"""Processes that train trials, several at once, and answer to one that keeps the study.

A process that dies takes its trial with it and nothing else. If the one that keeps the study dies,
they stop as well.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from facetry.compare.apart import fork_context
from facetry.errors import FacetryError
from facetry.recipe import Recipe
from facetry.tune.bench import Bench, Pruned

_PATIENCE_S = 20.0  # a training that is told to stop saves its state first


@dataclass(frozen=True, kw_only=True)
class Task:
    """One trial to train: `name` is the crew's caller's, `place` its own folder."""

    name: int
    recipe: Recipe
    place: Path
    is_pruning: bool


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A trial's score on the validation part."""

    score: float


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A trial that was told to stop has stopped."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A trial that cannot be trained; `trace` says where, "" for a mistake of the user's."""

    reason: str
    trace: str = ""


@dataclass(frozen=True, kw_only=True)
class Died:
    """A trial whose process died."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A trial is after an epoch, from 1, and waits to be told whether to stop: see `Crew.answer`."""

    epoch: int
    score: float


News = Scored | Stopped | Failed | Died | Epoch


@dataclass(eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    lifeline: Connection
    task: Task | None = None

    def close(self) -> None:
        """End the process: one that waits leaves by itself, one that works is told to."""
        if self.task:
            self.process.terminate()
        self.pipe.close()
        self.lifeline.close()
        self.process.join(_PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Crew:
    """Up to `num_workers` processes, with as many threads each as `num_threads`."""

    def __init__(self, bench: Bench, *, num_workers: int, num_threads: int) -> None:
        self.bench = bench
        self.num_workers = num_workers
        self.num_threads = num_threads
        self.workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self.workers:
            if each.task:
                each.process.terminate()  # all at once, then wait for each
        for each in self.workers:
            each.close()

    @property
    def is_full(self) -> bool:
        """Whether everyone works."""
        return self.num_busy >= self.num_workers

    @property
    def num_busy(self) -> int:
        """How many trials are under way."""
        return sum(each.task is not None for each in self.workers)

    def start(self, task: Task) -> None:
        """Have a process that waits train a trial; make one if there is none."""
        worker = next((each for each in self.workers if each.task is None), None) or self._hired()
        worker.task = task
        with suppress(OSError):  # it has died while it waited: that is the next news of it
            worker.pipe.send(task)

    def listen(self) -> Iterator[tuple[Task, News]]:
        """Wait until there is news, and give all that there is."""
        busy = {each.pipe: each for each in self.workers if each.task}
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            worker = busy[pipe]
            task = worker.task
            assert task
            news = self._news(worker)
            if not isinstance(news, Epoch):
                worker.task = None
            yield task, news

    def answer(self, task: Task, *, is_to_stop: bool) -> None:
        """Tell a trial that waits after an epoch whether to stop."""
        worker = next(each for each in self.workers if each.task is task)
        with suppress(OSError):  # as above
            worker.pipe.send(is_to_stop)

    def _hired(self) -> _Worker:
        context = fork_context()
        ours, theirs = context.Pipe()
        held, lifeline = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve, args=(theirs, held, self.bench, self.num_threads), daemon=True
        )
        process.start()
        theirs.close()
        held.close()
        self.workers.append(_Worker(process, ours, lifeline))
        return self.workers[-1]

    def _news(self, worker: _Worker) -> News:
        try:
            news: News = worker.pipe.recv()
        except (EOFError, OSError):
            worker.close()
            self.workers.remove(worker)
            return Died(reason=f"Its process ended with code {worker.process.exitcode}.")
        return news


def _serve(pipe: Connection, lifeline: Connection, bench: Bench, num_threads: int) -> None:
    """What a process does: train what it is sent, until nobody is there to send."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that keeps the study
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    torch.set_num_threads(num_threads)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_trained(pipe, bench, task))
        except KeyboardInterrupt:  # asked to stop; what was done is saved
            sys.exit(130)


def _end_with(lifeline: Connection) -> None:
    """End this process, as by SIGTERM, when the other end of the line is gone."""
    wait([lifeline])
    os.kill(os.getpid(), signal.SIGTERM)


def _trained(pipe: Connection, bench: Bench, task: Task) -> News:
    def on_epoch(epoch: int, score: float) -> None:
        pipe.send(Epoch(epoch=epoch, score=score))
        if pipe.recv():
            raise Pruned

    try:
        return Scored(score=bench.score(task.recipe, task.place, on_epoch if task.is_pruning else None))
    except Pruned:
        return Stopped()
    except FacetryError as error:
        return Failed(reason=error.message)
    except Exception as error:  # noqa: BLE001  # a process's boundary: the caller records it
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Failed(reason=what, trace=traceback.format_exc())
