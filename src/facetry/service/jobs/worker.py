"""Works off jobs: takes one after the other, fills its table, and goes on where another worker stopped.

Products are predicted in parts, each of which is stored once it is done. A worker that is stopped, or
that dies, leaves them to the next one: nothing is done twice, nothing is lost.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from facetry.batch.fill.config import FillConfig, FillSummary, Shown
from facetry.batch.fill.record import fill_folder
from facetry.batch.fill.run import fill_table
from facetry.confidence.fill_audit import Promised
from facetry.errors import DatabaseUnavailable, FacetryError, FolderInUse, FolderMismatch, WriteFailed
from facetry.runtime.files import DISK_FULL, remove
from facetry.runtime.progress import Advance
from facetry.runtime.signals import Stopped
from facetry.service.batching import OnDeath, Worker
from facetry.service.config import ServiceConfig
from facetry.service.jobs.describe import open_description
from facetry.service.jobs.folder import JOBS, JobFolder, remove_folder, without_folders
from facetry.service.jobs.store import Job, JobStore, Lease
from facetry.service.logs import log
from facetry.service.models import LoadedModel, ModelRegistry
from facetry.service.problems import Problem

_SHOWN: Final[tuple[Shown, ...]] = ("action", "confidence", "alternatives")
"""The columns beside each attribute where a precision is promised."""

_MOST_PROBLEMS: Final = 100  # that are told: they may quote a category

_FULL: Final = {
    "reason": "storage_full",
    "message": "The service's disk is full; the job goes on once there is room.",
    "hint": "",
}
_INTERNAL: Final = {
    "reason": "internal",
    "message": "An error in the service.",
    "hint": "Its log says more.",
}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How often a worker looks for jobs, how long it holds one without a heartbeat, and how it waits."""

    poll_s: float = 1.0
    lease_s: float = 30.0
    in_use_s: float = 15.0
    """Before a job is tried again whose folder another process still writes."""

    full_s: float = 60.0
    """Before a job is tried again for which the disk had no room."""

    @property
    def beat_s(self) -> float:
        """The time between heartbeats, by which a worker also hears that its job is cancelled."""
        return min(2.0, self.lease_s / 3)


class JobWorkers:
    """The threads of one process that work off jobs."""

    def __init__(
        self,
        config: ServiceConfig,
        jobs: JobStore,
        models: ModelRegistry,
        on_death: OnDeath,
        timing: Timing = Timing(),  # frozen
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._models = models
        self._on_death = on_death
        self._timing = timing
        self._name = f"{socket.gethostname()[:32]}-{os.getpid()}-{token_hex(4)}"
        self._stopping = threading.Event()
        self._threads: list[Worker] = []

    def start(self) -> None:
        """Begin to work."""
        self._stopping.clear()
        self._threads = [
            Worker("job", self._step, self._died) for _ in range(self._config.num_job_workers)
        ]

    def stop(self, timeout_s: float) -> None:
        """Give back what is being worked on, and end the threads."""
        self._stopping.set()
        until = monotonic() + timeout_s
        for each in self._threads:
            each.join(max(0.0, until - monotonic()))

    def _died(self, kind: str, error: BaseException) -> None:
        """Tell of a death, and wait: what is broken may be so for long."""
        self._on_death(kind, error)
        self._stopping.wait(self._timing.poll_s)

    def _step(self) -> bool:
        """Work off one job, or wait for one; False once it is to stop."""
        if self._stopping.is_set():
            return False
        try:
            lease = self._jobs.claim(self._name, self._timing.lease_s)
            if lease is not None:
                self._work_off(lease)
                return True
        except DatabaseUnavailable as error:  # a job that was being worked on goes on by its lease's end
            log("database_unavailable", level=logging.WARNING, error=error, worker=self._name)
        self._stopping.wait(self._timing.poll_s)
        return True

    def _work_off(self, lease: Lease) -> None:
        """Work on a job for as long as the lease holds, and store what became of it."""
        job = lease.job
        log("job_started", job=job.id, model=job.model, worker=self._name)
        progress = _Progress(self._jobs, lease, self._stopping)
        with progress.beating(self._timing.beat_s):
            end = self._outcome(job, progress)
        is_held = end(lease)
        log("job_left", job=job.id, model=job.model, worker=self._name)
        if not is_held and not self._jobs.exists(job.id):
            remove_folder(self._config.data / JOBS / job.id)  # deleted while it was written

    def _outcome(self, job: Job, progress: "_Progress") -> Callable[[Lease], bool]:
        """Fill a job's table; what to tell the store then."""
        folder = JobFolder(self._config.data / JOBS / job.id, job.options.suffix)
        try:
            summary = self._fill(job, folder, progress)
        except _Interrupted:
            return self._interrupted
        except Exception as error:  # noqa: BLE001  # a worker's boundary: told, logged, counted
            return self._stopped_by(error, job, folder)
        return lambda lease: self._jobs.finish(lease, summary)

    def _stopped_by(self, error: Exception, job: Job, folder: JobFolder) -> Callable[[Lease], bool]:
        """What to tell the store of a job that an error has stopped: it fails, or goes on later."""
        if isinstance(error, FolderInUse | DatabaseUnavailable):
            return self._later(self._timing.in_use_s)
        if isinstance(error, FolderMismatch):  # the model was replaced: what the old one said is dropped
            remove(fill_folder(folder.result))
            remove(folder.result)
            return self._later()
        if isinstance(error, WriteFailed) or getattr(error, "errno", None) in DISK_FULL:
            log("storage_full", level=logging.ERROR, error=error, job=job.id)
            return self._later(self._timing.full_s, _FULL)
        if isinstance(error, FacetryError | Problem):
            failure = self._as_failure(error, folder)
        else:
            log("job_failed", level=logging.ERROR, error=error, job=job.id, model=job.model)
            failure = _INTERNAL
        return lambda lease: self._jobs.fail(lease, failure)

    def _fill(self, job: Job, folder: JobFolder, progress: "_Progress") -> Mapping[str, Any]:
        """Fill the table of a job; what is to be told of it."""
        model = self._models.get(job.model).for_job(job.options.precision)
        catalogue = open_description(folder, model.taxonomy)
        config = fill_config(job, model)
        summary = fill_table(model.predictor, catalogue, folder.result, config, reporter=progress)
        return summary_of(summary, job)

    def _interrupted(self, lease: Lease) -> bool:
        """Cancel a job, if that was asked for, or give it back; False if its lease is lost."""
        return self._jobs.end_cancelled(lease) or self._jobs.release(lease)

    def _later(
        self, delay_s: float = 0.0, error: Mapping[str, str] | None = None
    ) -> Callable[[Lease], bool]:
        return lambda lease: self._jobs.release(lease, delay_s=delay_s, error=error)

    def _as_failure(self, error: FacetryError | Problem, folder: JobFolder) -> Mapping[str, str]:
        """What users are told of an error that they can cause: no folder of the service's disk."""
        model_folders = self._config.models.values()
        secret = [folder.path, *model_folders, *filter(None, [self._config.images_root])]
        reason = error.reason if isinstance(error, Problem) else "invalid"
        texts = {"message": error.message, "hint": error.hint}
        return {"reason": reason, **{key: without_folders(text, secret) for key, text in texts.items()}}


def fill_config(job: Job, model: LoadedModel) -> FillConfig:
    """What to fill: under a promise with what to do beside each attribute."""
    promises = model.promises if job.options.precision is not None else None
    return FillConfig(
        model=model.fingerprint,
        source=f"model {model.name}",
        only=job.options.only,
        promise=Promised.of(model.folder, promises) if promises else None,
        shows=_SHOWN if promises else (),
    )


def summary_of(summary: FillSummary, job: Job) -> Mapping[str, Any]:
    """What is told of a job that is done, as JSON holds it."""
    return {
        "columns": [
            {
                "column": each.column,
                "num_filled": each.num_filled,
                "num_review": each.num_review,
                "num_abstain": each.num_abstain,
                "num_not_predicted": each.num_unpredicted,
                "mean_confidence": each.mean_confidence,
            }
            for each in summary.columns
        ],
        "num_predicted": summary.num_products - summary.problems.total(),
        "problems": dict(summary.problems.most_common(_MOST_PROBLEMS)),
        "num_skipped_files": job.options.num_skipped,
    }


class _Interrupted(Stopped):
    """The job is not to be worked on any further: cancelled, lost, or the service stops."""


class _Progress:
    """The `Reporter` of one job: says in heartbeats how far it is, and ends it when it is to end."""

    def __init__(self, jobs: JobStore, lease: Lease, stopping: threading.Event) -> None:
        self._jobs = jobs
        self._lease = lease
        self._stopping = stopping
        self._is_lost = threading.Event()
        self._is_over = threading.Event()
        self._num_products = lease.job.num_products
        self._num_done = lease.job.num_done

    def say(self, text: str) -> None:
        """Say nothing: the line may quote a product."""

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        """Count the products of a job, but for those that were done when it was stopped."""
        if self._num_products is None:
            self._num_products = total
        self._num_done = max(0, (self._num_products or 0) - (total or 0))
        self._beat()
        yield self._advance

    def _advance(self, count: int) -> None:
        self._num_done += count
        if self._is_lost.is_set() or self._stopping.is_set():
            raise _Interrupted

    @contextmanager
    def beating(self, interval_s: float) -> Iterator[None]:
        """Send heartbeats while the context lasts, in a thread of their own."""
        thread = threading.Thread(target=self._go_on_beating, args=(interval_s,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _go_on_beating(self, interval_s: float) -> None:
        until = monotonic() + self._lease.duration_s
        while not self._is_over.wait(interval_s):
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001  # tried again for as long as the lease may hold
                log("heartbeat_failed", level=logging.WARNING, error=error, job=self._lease.job.id)
                if monotonic() >= until:
                    self._is_lost.set()
            else:
                until = monotonic() + self._lease.duration_s

    def _beat(self) -> None:
        if not self._jobs.beat(self._lease, self._num_done, self._num_products):
            self._is_lost.set()
