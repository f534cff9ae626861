"""The settings of a service; each limit is there so that no request can take the process down."""

from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

from pydantic import Field, PositiveFloat, PositiveInt

from facetry.engines.engine import EngineConfig, num_cores
from facetry.runtime.config import Config

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
"""The hosts that only this machine reaches: bound to one of them, a service needs no keys."""

MIB: Final = 2**20


class Limits(Config):
    """What one request may ask for."""

    max_photos: PositiveInt = 64
    """Photos in one request; tables of more products are jobs."""

    max_photo_bytes: PositiveInt = 20 * MIB
    """Bytes of one photo's file."""

    max_pixels: PositiveInt = 40_000_000
    """Pixels of one photo, as its header says."""

    max_request_bytes: PositiveInt = 128 * MIB
    """Bytes of a request's body, but for jobs."""

    max_bytes_in_memory: PositiveInt = 512 * MIB
    """Bytes of all requests' bodies at a time, but for jobs, which lie on disk; more are refused."""

    max_job_bytes: PositiveInt = 2048 * MIB
    """Bytes of a job's table and photos together, as sent."""

    max_unpacked_bytes: PositiveInt = 8192 * MIB
    """Bytes of a job's photos, unpacked."""

    max_zip_ratio: PositiveInt = 100
    """How many times larger a file of a ZIP may be than what it takes in it."""

    max_files: PositiveInt = 200_000
    """Files in a ZIP."""

    max_depth: PositiveInt = 16
    """Folders above a file in a ZIP."""

    min_free_bytes: PositiveInt = 256 * MIB
    """Bytes of the disk that jobs leave free: one that would not is refused before it is read."""

    max_open_jobs: PositiveInt = 20
    """Jobs of one key that wait or run."""

    header_timeout_s: PositiveFloat = 10.0
    """Time for a request's line and headers."""

    body_timeout_s: PositiveFloat = 30.0
    """Time between two pieces of a body, and for a client to read a piece of its answer."""

    deadline_s: PositiveFloat = 30.0
    """Time for an answer, from the moment that a request is read."""

    max_connections: PositiveInt = 2048
    """Connections open at once; more are refused."""


class Batching(Config):
    """How photos of all clients are put together for the engine."""

    max_batch: PositiveInt = 32
    """Photos that the engine computes at once."""

    max_wait_ms: Annotated[float, Field(ge=0)] = 5.0
    """How long a photo waits for others to be computed with."""

    queue_photos: PositiveInt = 256
    """Photos that are waiting, decoded or computed, of all clients; more are refused."""

    num_decoders: PositiveInt = Field(default_factory=num_cores)
    """Threads that decode photos."""


class ServiceConfig(Config):
    """A service: what it serves, where it listens, and where it keeps what it has to."""

    models: Annotated[dict[str, Path], Field(min_length=1)]
    """The model folders, by the name that requests give."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides those of loopback, under which it is reached."""

    data: Path = Path("facetry-data")
    """The folder of uploads, results and, without another `database`, of the database."""

    database: str = ""
    """SQLAlchemy's URL; "" is a SQLite file in `data`."""

    images_root: Path | None = None
    """The folder below which jobs may name a photo folder; None: none may."""

    requires_keys: bool = False
    """Whether keys are needed on loopback, too."""

    precision: float | None = None
    """The promised precision that decides what to do with each prediction; None: nothing is decided."""

    engine: EngineConfig = EngineConfig()
    limits: Limits = Limits()
    batching: Batching = Batching()

    photos_per_minute: PositiveInt | None = None
    """How many photos each key may send a minute; None: as many as can be computed."""

    keep_days: PositiveFloat = 7.0
    """How long a job's photos and results are kept after it has ended."""

    drain_s: PositiveFloat = 30.0
    """How long what is in flight may take after SIGTERM."""

    num_job_workers: Annotated[int, Field(ge=0)] = 1
    """Jobs that this process works off at once; 0: it only takes them."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    @property
    def needs_keys(self) -> bool:
        """Whether a request needs a key."""
        return self.requires_keys or not self.is_loopback

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL of the database."""
        return self.database or sqlite_url(embedded_database(self.data))


def embedded_database(data: Path) -> Path:
    """The file of the database in a service's data folder."""
    return data.absolute() / "facetry.db"


def sqlite_url(file: Path) -> str:
    """SQLAlchemy's URL of a SQLite file.

    >>> sqlite_url(Path("/data/100%?/facetry.db"))
    'sqlite:////data/100%25%3F/facetry.db'
    """
    return f"sqlite:///{quote(str(file))}"
