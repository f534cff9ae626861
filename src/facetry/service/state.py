"""What the routes work with: the parts of one service, and their life."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Final, ParamSpec, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, Request

from facetry.service.access import Access, Caller, may
from facetry.service.batching import Decoders, Gate, Submitter
from facetry.service.config import ServiceConfig
from facetry.service.database import Database
from facetry.service.jobs.cleaning import Cleaner
from facetry.service.jobs.store import JobStore
from facetry.service.jobs.worker import JobWorkers
from facetry.service.keys import KeyStore
from facetry.service.logs import log
from facetry.service.metrics import Metrics
from facetry.service.models import Load, ModelRegistry
from facetry.service.quota import Quota

_NUM_READERS: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True, eq=False)
class Service:
    """The parts of a service; made by `make_service`."""

    config: ServiceConfig
    database: Database
    keys: KeyStore
    access: Access
    quota: Quota
    metrics: Metrics
    models: ModelRegistry
    submitter: Submitter
    decoders: Decoders
    jobs: JobStore
    job_workers: JobWorkers
    cleaner: Cleaner
    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_NUM_READERS))
    is_closing: bool = field(default=False)
    _starting: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def is_ready(self) -> bool:
        """Whether it answers requests: its models are warm, and it is not shutting down."""
        return self.models.is_ready and not self.is_closing

    def start(self) -> None:
        """Load the models, then begin to work off jobs, unless it is closed meanwhile; blocks.

        Raises:
            FacetryError: a model cannot be served.
        """
        self.models.load_all()
        with self._starting:
            if not self.is_closing:
                self.job_workers.start()
                self.cleaner.start()

    async def read(self, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Read a body in a thread; those that the routes share may all wait for the database."""
        return await to_thread.run_sync(partial(function, *args, **options), limiter=self.readers)

    def refuse_new_work(self) -> None:
        """Answer new requests with 503 from now on; what is in work is finished."""
        self.is_closing = True
        self.submitter.gate.close()

    def close(self) -> None:
        """End all threads; jobs that run are given back, to go on where they stopped."""
        self.refuse_new_work()
        with self._starting:
            self.cleaner.stop()
            self.job_workers.stop(self.config.drain_s)
        self.models.close(self.config.drain_s)
        self.decoders.close()
        self.database.close()


def make_service(config: ServiceConfig, load: Load, paths: Mapping[str, Path] | None = None) -> Service:
    """The parts of a service; its database is opened, nothing is loaded or started yet.

    `paths` are the models' folders, where these are not those of the settings.

    Raises:
        DatabaseUnavailable: the database cannot be opened.
    """
    config.data.mkdir(parents=True, exist_ok=True)
    metrics = Metrics()

    def on_death(kind: str, error: BaseException) -> None:
        metrics.count_restart(kind)
        log("worker_died", level=logging.ERROR, error=error, worker=kind)

    database = Database.open(config.database_url)
    keys = KeyStore(database)
    gate = Gate(config.batching.queue_photos)
    metrics.watch_queue(lambda: gate.num_inside)
    decoders = Decoders(config.batching.num_decoders, on_death)
    models = ModelRegistry(config, load, metrics, on_death, paths)
    jobs = JobStore(database, max_open_jobs=config.limits.max_open_jobs, keep_days=config.keep_days)
    return Service(
        config=config,
        database=database,
        keys=keys,
        access=Access(config, keys),
        quota=Quota(config.photos_per_minute),
        metrics=metrics,
        models=models,
        submitter=Submitter(gate, decoders),
        decoders=decoders,
        jobs=jobs,
        job_workers=JobWorkers(config, jobs, models, on_death),
        cleaner=Cleaner(config, jobs),
    )


class Extension(Protocol):
    """A part of another package that answers beside the API, with the same database and keys."""

    def model_folders(self, config: ServiceConfig) -> Mapping[str, Path]:
        """The folders of the models to serve, by name: those of the settings, or others."""
        ...

    def install(self, app: FastAPI, service: Service) -> None:
        """Add its routes to the application."""
        ...

    def begin(self, service: Service, address: str) -> None:
        """Do what is to be done once the models are loaded; blocks. `address` is the service's."""
        ...

    def end(self) -> None:
        """End what it has begun, before the service is closed."""
        ...


async def current(request: Request) -> Service:
    """The service that answers a request; asynchronous, or it would wait for a thread to do that."""
    service: Service = request.app.state.service
    return service


Current = Annotated[Service, Depends(current)]
"""The service, as a parameter of a route."""

MayPredict = Annotated[Caller, Depends(may("predict"))]
"""Who asks, as a parameter of a route for which the scope `predict` is needed."""

MayAdmin = Annotated[Caller, Depends(may("admin"))]
"""Who asks, as a parameter of a route for which the scope `admin` is needed."""
