"""Runs work in a process of its own, so that its memory is its own, and so is its death.

The processes are forked from a server that has imported the large libraries once and done nothing
with them: to start one costs a tenth of a second instead of many, and no thread or lock is inherited.
"""

import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

from facetry.errors import CompareError, FacetryError
from facetry.progress import Advance, Reporter
from facetry.resources import peak_rss_mib

_IMPORTED_ONCE = ["facetry.compare.work", "facetry.training.train", "open_clip", "timm"]
_MIB = 1024 * 1024
_OUT_OF_MEMORY = "Killed by the system; most often it has run out of memory."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What work took: seconds, and memory at most beyond what the libraries took before.

    `gpu_mib` is None where there is no GPU.
    """

    seconds: float
    memory_mib: float
    gpu_mib: float | None = None


class WorkFailed(CompareError):
    """Work that failed in its process; `trace` says where, "" for a mistake of the user's."""

    def __init__(self, message: str, *, hint: str = "", trace: str = "") -> None:
        super().__init__(message, hint=hint)
        self.trace = trace


def fork_context() -> ForkServerContext:
    """What starts processes that have the large libraries, and nothing else, from the start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    return context


def run_apart(work: Callable[..., Any], *arguments: object, reporter: Reporter) -> tuple[Any, Cost]:
    """Call `work(*arguments, reporter=...)` in a process of its own; its result and its cost.

    Raises:
        WorkFailed: it raised an error, or its process died.
    """
    context = fork_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    try:
        kind, *content = _listen(ours, reporter)
    except EOFError:
        process.join()  # else its exit code is not known yet
        code = process.exitcode
        reason = _OUT_OF_MEMORY if code == -9 else f"Its process ended with code {code}."
        raise WorkFailed(reason) from None
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    if kind == "failed":
        message, hint, trace = content
        raise WorkFailed(message, hint=hint, trace=trace)
    result, cost = content
    return result, cost


def _listen(pipe: Connection, reporter: Reporter) -> Any:
    """Show what the process says until it is done or has failed."""
    bars: list[tuple[AbstractContextManager[Advance], Advance]] = []
    try:
        while True:
            kind, *content = pipe.recv()
            if kind == "say":
                reporter.say(*content)
            elif kind == "bar":
                bar = reporter.bar(*content)
                bars.append((bar, bar.__enter__()))
            elif kind == "advance":
                bars[-1][1](*content)
            elif kind == "end":
                bars.pop()[0].__exit__(None, None, None)
            else:
                return (kind, *content)
    finally:
        for bar, _ in reversed(bars):
            bar.__exit__(None, None, None)


class _Relay:
    """A reporter whose words go through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def say(self, text: str) -> None:
        self.pipe.send(("say", text))

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        self.pipe.send(("bar", description, total))
        try:
            yield lambda count: self.pipe.send(("advance", count))
        finally:
            self.pipe.send(("end",))


def _work(pipe: Connection, work: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    """What the process does: work, and say how it went."""
    before_mib = peak_rss_mib()
    started = time.perf_counter()
    try:
        result = work(*arguments, reporter=_Relay(pipe))
        cost = Cost(
            seconds=time.perf_counter() - started,
            memory_mib=peak_rss_mib() - before_mib,
            gpu_mib=_gpu_peak_mib(),
        )
        pipe.send(("done", result, cost))
    except FacetryError as error:
        pipe.send(("failed", error.message, error.hint, ""))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  # a process's boundary: the caller records it
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        pipe.send(("failed", what, "", traceback.format_exc()))


def _gpu_peak_mib() -> float | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_reserved()) / _MIB
