"""Addresses of clusters that are none, do not answer, or cannot be used from here."""

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from facetry.batch.ray import connect
from facetry.batch.ray.connect import Address, connected
from facetry.errors import ClusterError, FacetryError, MissingExtra, SettingError
from facetry.runtime.progress import SILENT


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections, but says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port(silent_port: int) -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] != silent_port
        port: int = server.getsockname()[1]
    return port


def failure_of(address: str) -> FacetryError:
    with pytest.raises(FacetryError) as caught, connected(Address.parse(address), SILENT):
        pass
    return caught.value


@pytest.mark.parametrize("text", ["ray", "10.0.0.5:6379", "head:6379", "ray://head:10001", "[::1]:6379"])
def test_addresses(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "10.0.0.5", "head:", ":6379", "head:99999", "head:0", "http://h:1", "a b:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(SettingError, match="names no Ray cluster") as caught:
        Address.parse(text)
    assert "HOST:PORT" in caught.value.hint


@pytest.mark.parametrize(("named", "meant"), [("h:6379", "h:6379"), ("auto", "ray"), ("", "ray")])
def test_the_environment_may_name_the_cluster(
    named: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", named)
    assert str(Address.parse("ray")) == meant


def test_an_address_that_does_not_answer(closed_port: int) -> None:
    error = failure_of(f"127.0.0.1:{closed_port}")
    assert isinstance(error, ClusterError)
    assert error.message == f"No Ray cluster answers at 127.0.0.1:{closed_port}: Connection refused."
    assert "ray status" in error.hint


def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fail)
    assert "No Ray cluster answers at nowhere.invalid:6379" in failure_of("nowhere.invalid:6379").message


def test_something_else_answers(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "TIMEOUT_S", 0.2)
    started = time.monotonic()
    error = failure_of(f"127.0.0.1:{silent_port}")
    assert time.monotonic() - started < 10
    assert "what is there is no Ray cluster" in error.message


def test_rays_client_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    error = failure_of("ray://127.0.0.1:10001")
    assert isinstance(error, SettingError)
    assert "ray[client]" in error.hint
    assert "HOST:6379" in error.hint


def test_ray_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    error = failure_of("ray")
    assert isinstance(error, MissingExtra)
    assert 'pip install "facetry[scale]"' in error.hint
