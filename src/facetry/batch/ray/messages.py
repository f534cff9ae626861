"""What the workers of a cluster and their driver tell each other."""

import platform
import traceback
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, Self

from facetry.errors import FacetryError, WorkerFailed
from facetry.runtime.progress import Advance, Reporter


class OpenJob(Protocol):
    """Work that a process has loaded what it needs for."""

    @property
    def fingerprint(self) -> str:
        """A digest of all that results depend on."""
        ...

    def __call__(self, task: Any, advance: Advance, reporter: Reporter) -> Any:
        """Do a task, and call `advance` with the rows that are done."""
        ...


class Job(Protocol):
    """What every worker opens once, and then does task by task; it can be pickled."""

    def open(self, reporter: Reporter) -> OpenJob:
        """Load what is needed.

        Raises:
            FacetryError: something is missing or does not fit.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The versions that have to be the same on all machines."""

    facetry: str
    python: str

    @classmethod
    def here(cls) -> Self:
        """Those of this process."""
        major, minor, _ = platform.python_version_tuple()
        return cls(facetry=version("facetry"), python=f"{major}.{minor}")

    def __str__(self) -> str:
        return f"Facetry {self.facetry} on Python {self.python}"


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A worker is ready. `name` is its machine and process; `lines` is what it said meanwhile."""

    name: str
    fingerprint: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error that no other worker would be spared. `trace` is that of an unexpected one."""

    kind: type[Exception]
    message: str
    hint: str = ""
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """An error that was raised in this process."""
        if isinstance(error, FacetryError):
            return cls(kind=type(error), message=error.message, hint=error.hint)
        if isinstance(error, MemoryError):
            return cls(kind=MemoryError, message=str(error))
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return cls(kind=WorkerFailed, message=what, trace="".join(traceback.format_exception(error)))

    @property
    def error(self) -> Exception:
        """The error to raise in the driver, of the same class."""
        if not issubclass(self.kind, FacetryError):
            return self.kind(self.message)
        if self.kind is WorkerFailed:
            return WorkerFailed(self.message, hint=self.hint, trace=self.trace)
        error = self.kind.__new__(self.kind)  # some classes make their message of other arguments
        FacetryError.__init__(error, self.message, hint=self.hint)
        return error


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """A task is done."""

    result: Any


@dataclass(frozen=True, kw_only=True)
class GivenBack:
    """The worker's machine is about to end: somebody else has to do the task."""


@dataclass(frozen=True, kw_only=True)
class Died:
    """The worker's process has ended; `was_preempted` if its machine was taken away as announced."""

    reason: str
    was_preempted: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Rows done and lines said since the last report, and what became of the task if it has ended."""

    num_rows: int
    lines: tuple[str, ...]
    outcome: Done | Failure | GivenBack | None = None


Reply = Joined | Report | Failure | Died
"""What comes back from a worker that was sent something."""
