"""A bucket on moto's server, behind a proxy that throttles, cuts and refuses.

A test module that wants one imports the fixtures `endpoint` and `bucket`.
"""

import http.client
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar, Literal
from uuid import uuid4

import pytest

from facetry.runtime import objects
from facetry.runtime.objects import ObjectPath, located

Fault = Literal["", "slow down", "expired", "cut", "down", "unanswered"]
"""What happens to a request. One that is "unanswered" is carried out, but its answer is lost."""

_REFUSED = {"slow down": (503, "SlowDown"), "expired": (403, "ExpiredToken"), "down": (500, "Internal")}


@dataclass
class Requests:
    """What a proxy was asked for, and what it is to do with the next requests."""

    seen: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    fault_of: Callable[[str, str], Fault] = lambda _method, _path: ""

    def next_fault(self, method: str, path: str) -> Fault:
        """The fault of a request, by its method and path."""
        self.seen.append((method, path))
        return self.faults.pop() if self.faults else self.fault_of(method, path)

    def read(self) -> list[str]:
        """The names of the objects whose content was read, in order."""
        paths = (path.partition("?")[0] for method, path in self.seen if method == "GET")
        return [path.rpartition("/")[2] for path in paths if path.count("/") > 1]


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on to moto, but for those that are to fail."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    requests: ClassVar[Requests] = Requests()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.requests.next_fault(self.command, self.path)
        if fault in _REFUSED:
            status, code = _REFUSED[fault]
            self.reply(status, [], f"<Error><Code>{code}</Code></Error>".encode())
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        upstream.request(self.command, self.path, body, dict(self.headers))
        got = upstream.getresponse()
        content = got.read()
        upstream.close()
        if fault == "unanswered":
            self.close_connection = True
            return
        self.reply(got.status, got.getheaders(), content, is_cut=fault == "cut")

    def reply(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, is_cut: bool = False
    ) -> None:
        self.send_response_only(status)
        of_connection = {"connection", "transfer-encoding"}
        if self.command != "HEAD":
            of_connection.add("content-length")
            self.send_header("Content-Length", str(len(content)))
        for name, value in headers:
            if name.lower() not in of_connection:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if is_cut else content)
        self.close_connection = is_cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of the proxy."""
    moto_server = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    Proxy.port = server.get_host_and_port()[1]
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()
    server.stop()


@dataclass(frozen=True)
class Bucket:
    """A place for a test's objects, and what is asked of it."""

    root: ObjectPath
    requests: Requests


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A place in the bucket "shop"; the environment has its credentials."""
    settings = {"ENDPOINT_URL": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    settings |= {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    objects._client.cache_clear()
    connection = http.client.HTTPConnection("127.0.0.1", Proxy.port, timeout=10)
    connection.request("PUT", "/shop", headers={"Host": "s3.amazonaws.com"})
    assert connection.getresponse().status in (200, 409)
    connection.close()
    Proxy.requests = Requests()
    root = located(f"s3://shop/{uuid4().hex}")
    assert isinstance(root, ObjectPath)
    yield Bucket(root, Proxy.requests)
    objects._client.cache_clear()
