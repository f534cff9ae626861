"""Objects by URL against moto's server, behind a proxy that throttles, cuts and refuses."""

import http.client
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from facetry.errors import SettingError, StorageUnavailable
from facetry.runtime import objects
from facetry.runtime.objects import ObjectPrefix, StoredObject

moto_server = pytest.importorskip("moto.server")


class Proxy(BaseHTTPRequestHandler):
    """Passes requests on; each of `faults` changes one answer: "slow down", "cut" or "expired"."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]
    faults: ClassVar[list[str]] = []

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.faults.pop() if self.faults else ""
        if fault in ("slow down", "expired"):
            status, code = (503, "SlowDown") if fault == "slow down" else (403, "ExpiredToken")
            self.reply(status, [], f"<Error><Code>{code}</Code></Error>".encode())
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        upstream.request(self.command, self.path, body, dict(self.headers))
        got = upstream.getresponse()
        content = got.read()
        upstream.close()
        self.reply(got.status, got.getheaders(), content, is_cut=fault == "cut")

    def reply(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, is_cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if is_cut else content)
        self.close_connection = is_cut

    do_GET = do_PUT = do_POST = do_HEAD = answer  # noqa: N815


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    Proxy.port = server.get_host_and_port()[1]
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    proxy.server_close()
    server.stop()


@pytest.fixture
def shop(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ObjectPrefix:
    settings = {"ENDPOINT_URL": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    settings |= {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    objects._client.cache_clear()
    Proxy.faults.clear()
    connection = http.client.HTTPConnection("127.0.0.1", Proxy.port, timeout=10)
    connection.request("PUT", "/shop", headers={"Host": "s3.amazonaws.com"})
    assert connection.getresponse().status in (200, 409)
    connection.close()
    return ObjectPrefix.parse(f"s3://shop/{request.node.name}")


def test_what_was_written_is_read_and_listed(shop: ObjectPrefix, tmp_path: Path) -> None:
    etag = shop.write("a/1.jpg", b"photo")
    assert shop.read("a/1.jpg") == (b"photo", etag)
    assert list(shop.list()) == [StoredObject(name="a/1.jpg", size=5, etag=etag)]
    assert shop.download("a/1.jpg", tmp_path / "1.jpg") == etag
    assert (tmp_path / "1.jpg").read_bytes() == b"photo"


def test_a_missing_object_is_none_and_leaves_no_file(shop: ObjectPrefix, tmp_path: Path) -> None:
    assert shop.read("none") is None
    assert shop.download("none", tmp_path / "none") is None
    assert not list(tmp_path.iterdir())


def test_of_two_writers_the_second_loses(shop: ObjectPrefix) -> None:
    first = shop.write_if("manifest", b"1", etag=None)
    assert first is not None
    assert shop.write_if("manifest", b"2", etag=None) is None
    second = shop.write_if("manifest", b"3", etag=first)
    assert second is not None
    assert shop.write_if("manifest", b"4", etag=first) is None
    assert shop.read("manifest") == (b"3", second)


@pytest.mark.parametrize("fault", ["slow down", "cut"])
def test_throttled_and_cut_requests_are_repeated(shop: ObjectPrefix, tmp_path: Path, fault: str) -> None:
    content = bytes(range(256)) * 400
    shop.write("table", content)
    Proxy.faults.append(fault)
    found = shop.read("table")
    assert found is not None
    assert found[0] == content
    Proxy.faults.append(fault)
    shop.download("table", tmp_path / "table")
    assert (tmp_path / "table").read_bytes() == content


def test_expired_credentials_are_said(shop: ObjectPrefix) -> None:
    Proxy.faults.append("expired")
    with pytest.raises(StorageUnavailable, match="have expired"):
        shop.read("table")


@pytest.mark.usefixtures("shop")
def test_a_missing_bucket_is_no_missing_object() -> None:
    with pytest.raises(StorageUnavailable, match="s3://absent"):
        ObjectPrefix.parse("s3://absent/photos").read("1.jpg")


@pytest.mark.parametrize("url", ["photos", "s3://", "ftp://host/x"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(SettingError, match="not the address"):
        ObjectPrefix.parse(url)
