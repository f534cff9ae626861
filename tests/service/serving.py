"""A service in the tests' own process: asked directly, or over a socket of its own."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from facetry.service.app import make_app
from facetry.service.models import Load, LoadedModel
from facetry.service.server import Server, bind, make_server
from facetry.service.state import Service, make_service
from tests.service.fakes import FakePredictor, loaded, service_config

HERE = "http://127.0.0.1:8000"


@dataclass
class Serving:
    """A service with a fake model, and a client that asks it."""

    service: Service
    predictor: FakePredictor
    client: TestClient


def fake_load(predictor: FakePredictor) -> Load:
    """Loads the fake predictor, whatever the folder."""

    def load(name: str, _: Path) -> LoadedModel:
        return loaded(name, predictor)

    return load


@contextmanager
def serving(data: Path, *, load: Load | None = None, **changes: object) -> Iterator[Serving]:
    """A started service, asked in process; `changes` are settings."""
    predictor = FakePredictor()
    service = make_service(service_config(data, **changes), load or fake_load(predictor))
    service.start()
    try:
        with TestClient(make_app(service), base_url=HERE, raise_server_exceptions=False) as client:
            yield Serving(service, predictor, client)
    finally:
        predictor.may_go.set()


@dataclass
class Listening:
    """A service that listens on a free port of loopback."""

    service: Service
    predictor: FakePredictor
    server: Server
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """A connection to it; to be closed."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)


@contextmanager
def listening(data: Path, **changes: object) -> Iterator[Listening]:
    """A service in a thread, on a socket; ready once this is entered."""
    predictor = FakePredictor()
    service = make_service(service_config(data, **changes), fake_load(predictor))
    server = make_server(service)
    with closing(bind("127.0.0.1", 0)) as own:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [own]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: service.is_ready)
            yield Listening(service, predictor, server, own.getsockname()[1])
        finally:
            predictor.may_go.set()
            server.should_exit = True
            thread.join(10)
    assert not thread.is_alive()


def wait_until(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not in time.
    """
    pause = threading.Event()
    for _ in range(round(timeout_s / 0.01)):
        if holds():
            return
        pause.wait(0.01)
    raise TimeoutError
