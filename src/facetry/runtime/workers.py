"""A pool of worker processes, each isolated: a crash of one reaches neither its caller nor the others.

The processes are forked from a server (multiprocessing's forkserver) that has imported the large
libraries and done nothing else: one starts in a tenth of a second instead of many seconds, and inherits
no thread or lock.

Why not a library: `concurrent.futures` declares its whole pool broken when one process dies, and does
not say which job it ran nor its exit code; `multiprocessing.Pool` waits forever for that job; neither
lets a job report progress, ask its caller something or save its state on SIGTERM, and neither ends its
processes when the caller is killed. joblib's loky is built on `concurrent.futures` and shares this. Ray
has all of it, but takes six seconds to start and half a gigabyte.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Literal, Self

from facetry.errors import FacetryError, WorkerDied, WorkerFailed
from facetry.runtime.memory import peak_rss_mib
from facetry.runtime.progress import Advance, Reporter

_PRELOAD = ["facetry.training.train", "open_clip", "timm"]  # only named: the server imports them
_GRACE_S = 60.0  # between SIGTERM and SIGKILL: a training saves its state first
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a job took: seconds, and peak memory beyond what the process had taken before.

    `gpu_mib` is None if the job used no GPU.
    """

    seconds: float
    memory_mib: float
    gpu_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A job has returned `result`."""

    result: Any
    cost: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A job has raised an error; `trace` is its traceback, "" for a `FacetryError`."""

    message: str
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """The process that ran a job has ended."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A job waits until `WorkerPool.answer` answers its `question`."""

    question: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """A job has called its reporter: to show a line, or to start, advance or end a bar."""

    what: Literal["say", "bar", "advance", "end"]
    arguments: tuple[Any, ...] = ()


Event = Done | Failed | Died | Asked | Progressed


class JobReporter:
    """The reporter passed to a job: sends what it reports to the caller, and can ask the caller."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def say(self, text: str) -> None:
        """See `Reporter`."""
        self._pipe.send(Progressed(what="say", arguments=(text,)))

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        """See `Reporter`."""
        self._pipe.send(Progressed(what="bar", arguments=(description, total)))
        try:
            yield lambda count: self._pipe.send(Progressed(what="advance", arguments=(count,)))
        finally:
            self._pipe.send(Progressed(what="end"))

    def ask(self, question: object) -> Any:
        """Send a question and wait for the caller's answer; both must be picklable."""
        self._pipe.send(Asked(question=question))
        return self._pipe.recv()


@dataclass(eq=False)
class Worker:
    """One process. `lifeline` is a pipe that closes when the caller ends; `job` is None while idle."""

    process: BaseProcess
    pipe: Connection
    lifeline: Connection
    job: Hashable | None = None

    def close(self) -> None:
        """End the process: an idle one exits when its pipe closes, a busy one is sent SIGTERM."""
        if self.job is not None:
            self.process.terminate()
        self.pipe.close()
        self.lifeline.close()
        self.process.join(_GRACE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class WorkerPool:
    """Up to `num_workers` processes, each running one job: `work(*arguments, reporter=JobReporter)`.

    `work` is sent to a process once, the arguments with every job. A process runs one job after
    another or, with `is_fresh`, only one, so that the memory it measures is that job's alone.
    `num_threads` limits torch's threads in each process; None leaves torch's default.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        *,
        num_workers: int = 1,
        num_threads: int | None = None,
        is_fresh: bool = False,
    ) -> None:
        self.work = work
        self.num_workers = num_workers
        self.num_threads = num_threads
        self.is_fresh = is_fresh
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            if worker.job is not None:
                worker.process.terminate()  # signal all before waiting for any
        for worker in self.workers:
            worker.close()

    @property
    def is_full(self) -> bool:
        """Whether every worker has a job."""
        return self.num_busy >= self.num_workers

    @property
    def num_busy(self) -> int:
        """How many jobs are running."""
        return sum(worker.job is not None for worker in self.workers)

    def start(self, job: Hashable, *arguments: object) -> None:
        """Run a job, which its events call `job`, in an idle process or in a new one."""
        worker = next((each for each in self.workers if each.job is None), None) or self._add_worker()
        worker.job = job
        with suppress(OSError):  # it died while idle: `events` reports that next
            worker.pipe.send(arguments)

    def events(self) -> Iterator[tuple[Any, Event]]:
        """Wait until a job has an event; yield each job that has one, with the event."""
        busy = {worker.pipe: worker for worker in self.workers if worker.job is not None}
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            yield busy[pipe].job, self._receive(busy[pipe])

    def answer(self, job: Hashable, value: object) -> None:
        """Answer a job's question."""
        worker = next(each for each in self.workers if each.job == job)
        with suppress(OSError):  # as in `start`
            worker.pipe.send(value)

    def _receive(self, worker: Worker) -> Event:
        try:
            event: Event = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(_GRACE_S)  # only then is its exit code known
            self._remove(worker)
            return Died(reason=_exit_reason(worker.process.exitcode))
        if isinstance(event, Done | Failed):
            worker.job = None
            if self.is_fresh:
                self._remove(worker)
        return event

    def _remove(self, worker: Worker) -> None:
        worker.close()
        self.workers.remove(worker)

    def _add_worker(self) -> Worker:
        context = fork_context()
        ours, theirs = context.Pipe()
        held, lifeline = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(theirs, held, self.work, self.num_threads))
        process.start()
        theirs.close()
        held.close()
        self.workers.append(Worker(process, ours, lifeline))
        return self.workers[-1]


def fork_context() -> ForkServerContext:
    """The context that starts processes with the large libraries imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def run_in_worker(work: Callable[..., Any], *arguments: object, reporter: Reporter) -> tuple[Any, Cost]:
    """Call `work(*arguments, reporter=...)` in a new process; return its result and its cost.

    Raises:
        WorkerFailed: it raised an error.
        WorkerDied: its process ended.
    """
    with WorkerPool(work, is_fresh=True) as pool, _replaying(reporter) as replay:
        pool.start(0, *arguments)
        while True:
            for _, event in pool.events():
                match event:
                    case Done():
                        return event.result, event.cost
                    case Failed():
                        raise WorkerFailed(event.message, hint=event.hint, trace=event.trace)
                    case Died():
                        raise WorkerDied(event.reason)
                    case Progressed():
                        replay(event)
                    case Asked():
                        raise AssertionError("work that asks needs a `WorkerPool` to answer")


@contextmanager
def _replaying(reporter: Reporter) -> Iterator[Callable[[Progressed], None]]:
    """Give a function that repeats on `reporter` what a job reports; close bars left open."""
    bars: list[tuple[AbstractContextManager[Advance], Advance]] = []

    def replay(event: Progressed) -> None:
        match event.what:
            case "say":
                reporter.say(*event.arguments)
            case "bar":
                bar = reporter.bar(*event.arguments)
                bars.append((bar, bar.__enter__()))
            case "advance":
                bars[-1][1](*event.arguments)
            case "end":
                bars.pop()[0].__exit__(None, None, None)

    try:
        yield replay
    finally:
        for bar, _ in reversed(bars):
            bar.__exit__(None, None, None)


def _exit_reason(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "Killed by the system; most often it has run out of memory."
    return f"Its process ended with code {code}."


def _serve(
    pipe: Connection, lifeline: Connection, work: Callable[..., Any], num_threads: int | None
) -> None:
    """The main function of a process: run the jobs it is sent until the caller closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the caller sends SIGTERM
    threading.Thread(target=_exit_with_caller, args=(lifeline,), daemon=True).start()
    if num_threads is not None:
        import torch

        torch.set_num_threads(num_threads)
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        try:
            _run(pipe, work, arguments)
        except KeyboardInterrupt:  # stopped by SIGTERM; what was done is saved
            sys.exit(130)


def _exit_with_caller(lifeline: Connection) -> None:
    """Send this process SIGTERM when the caller has ended."""
    wait([lifeline])
    os.kill(os.getpid(), signal.SIGTERM)


def _run(pipe: Connection, work: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    before_mib = peak_rss_mib()
    started = time.perf_counter()
    try:
        result = work(*arguments, reporter=JobReporter(pipe))
        cost = Cost(
            seconds=time.perf_counter() - started,
            memory_mib=peak_rss_mib() - before_mib,
            gpu_mib=_gpu_peak_mib(),
        )
        pipe.send(Done(result=result, cost=cost))
    except FacetryError as error:
        pipe.send(Failed(message=error.message, hint=error.hint))
    except Exception as error:  # noqa: BLE001  # a worker's boundary: the caller records it
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        pipe.send(Failed(message=what, trace=traceback.format_exc()))


def _gpu_peak_mib() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_reserved()) / _MIB
