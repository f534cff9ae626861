"""Runs the application: binds, loads, answers, reloads on SIGHUP, and stops cleanly on SIGTERM."""

import asyncio
import logging
import resource
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Final

import uvicorn

from facetry.errors import SettingError
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.api.status import reload_model
from facetry.service.app import make_app
from facetry.service.config import ServiceConfig
from facetry.service.connections import timed_protocol
from facetry.service.logs import log, log_to_stderr
from facetry.service.models import load_model
from facetry.service.problems import Problem
from facetry.service.state import Extension, Service, make_service

BACKLOG: Final = 512
"""Connections that the system accepts before the service does."""

_OTHER_FILES: Final = 256  # besides connections


def run(config: ServiceConfig, reporter: Reporter = SILENT, extension: Extension | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; then nothing new is taken, and what is in work is finished.

    Raises:
        FacetryError: a model, the database or the address cannot be used.
    """
    log_to_stderr()
    allow_files(config.limits.max_connections + BACKLOG + _OTHER_FILES)
    uploads = config.data / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(uploads.absolute())  # where large bodies wait on disk
    service = make_service(
        config,
        partial(load_model, config=config, reporter=reporter),
        extension.model_folders(config) if extension else None,
    )
    server = make_server(service, reporter, extension)
    # Whoever asks for SIGTERM's default would end the process with an error after it has stopped.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGHUP, lambda *_: _in_thread(partial(reload_all, service)))
    with closing(bind(config.host, config.port)) as listening:
        server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def allow_files(num_files: int) -> None:
    """Have so many files open at once: without, a burst of connections would occupy the event loop.

    Raises:
        SettingError: the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < num_files:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (num_files, hard))
        except (OSError, ValueError) as error:
            raise SettingError(
                f"The service needs {num_files:,} open files at once, and the system allows {hard:,}.",
                hint="Raise the limit: systemd's LimitNOFILE, Docker's --ulimit, a shell's ulimit -n.",
            ) from error


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is any free one.

    Raises:
        SettingError: the address is not this machine's, is taken, or may not be used.
    """
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=kind, backlog=BACKLOG)
    except OSError as error:
        raise SettingError(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            hint="Name another one with --host and --port; --port 0 takes any that is free.",
        ) from error
    # Or the second part of an answer waits until the client has confirmed the first one, up to 40 ms.
    # Connections inherit it; asyncio would set it only for a socket that was made with its protocol.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class Server(uvicorn.Server):
    """A server that listens at once, loads meanwhile, and refuses new work as soon as it is to stop."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        reporter: Reporter,
        extension: Extension | None,
    ) -> None:
        super().__init__(config)
        self.service = service
        self._reporter = reporter
        self._extension = extension
        self.failure: Exception | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then have the models loaded in a thread: until then `/readyz` says no."""
        await super().startup(sockets)
        name, port = self.servers[0].sockets[0].getsockname()[:2]
        self._address = f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._start))

    def _start(self) -> None:
        try:
            self.service.start()
            if self.service.is_closing:
                return
            self._reporter.say(self._announcement())
            log("ready")
            if self._extension is not None:
                self._extension.begin(self.service, self._address)
        except Exception as error:  # noqa: BLE001  # a thread's boundary: the server stops with it
            self.failure = error
            self.should_exit = True

    def _announcement(self) -> str:
        """What is served, and where."""
        names = ", ".join(served.name for served in self.service.models.all())
        keys = "keys are needed" if self.service.config.needs_keys else "only from this machine, no keys"
        return f"Serving {names} on {self._address} ({keys}). Stop with Ctrl-C."

    def handle_exit(self, sig: int, frame: object) -> None:
        """Take no new work, then stop."""
        self.service.refuse_new_work()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def make_server(
    service: Service, reporter: Reporter = SILENT, extension: Extension | None = None
) -> Server:
    """The server of a service, not yet running."""
    config = service.config
    return Server(
        uvicorn.Config(
            make_app(service, extension),
            host=config.host,
            port=config.port,
            http=timed_protocol(config.limits),
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            backlog=BACKLOG,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=round(config.drain_s),
        ),
        service,
        reporter,
        extension,
    )


def reload_all(service: Service) -> None:
    """Reload every model; one that is refused is logged, and its old version goes on."""
    for served in service.models.all():
        try:
            outcome = reload_model(service, served.name)
            log(outcome, model=served.name)
        except Problem as problem:
            log(f"refused: {problem.message}", level=logging.ERROR, model=served.name)
        except Exception as error:  # noqa: BLE001  # a thread's boundary: logged, the others go on
            log("reload_failed", level=logging.ERROR, error=error, model=served.name)


def _in_thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()
