"""Over real sockets: clients that are slow, leave, send too much, or are too many."""

import base64
import json
import resource
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from facetry.errors import SettingError
from facetry.service.config import Batching, Limits
from facetry.service.models import LoadedModel
from facetry.service.server import allow_files, bind, make_server
from facetry.service.state import make_service
from tests.service.fakes import FakePredictor, loaded, photo, service_config
from tests.service.serving import Listening, listening, wait_until

BODY = {"products": [{"category": "Sarees", "photos": [base64.b64encode(photo()).decode()]}]}


def ask(service: Listening, **options: object) -> httpx.Response:
    return httpx.post(f"{service.url}/v1/predict", json=BODY, timeout=10, **options)


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    content = b""
    while piece := connection.recv(65536):
        content += piece
    return content


def drip(connection: socket.socket, text: str) -> None:
    """Send a text letter by letter."""
    for letter in text:
        connection.sendall(letter.encode())
        time.sleep(0.02)


def is_closed(connection: socket.socket, dripping: bytes, num_times: int = 40) -> bool:
    """Whether the other side closes while it is sent a drop now and then."""
    for _ in range(num_times):
        try:
            connection.sendall(dripping)
            if connection.recv(65536) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/pre", b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "]
)
def test_headers_that_do_not_come_end_the_connection(tmp_path: Path, sent: bytes) -> None:
    with listening(tmp_path, limits=Limits(header_timeout_s=0.3)) as service:
        with service.connect() as slow:
            slow.sendall(sent)
            started = time.monotonic()
            assert received(slow) == b""
            assert time.monotonic() - started < 2
        assert ask(service).status_code == 200


def test_headers_that_drip_do_not_gain_time(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(header_timeout_s=0.3)) as service, service.connect() as slow:
        started = time.monotonic()
        with pytest.raises(OSError, match=r".*"):
            drip(slow, "GET /healthz HTTP/1.1\r\nX-Long: " + "x" * 200)
        assert time.monotonic() - started < 3


def test_an_answer_is_sent_without_delay(tmp_path: Path) -> None:
    with listening(tmp_path) as service, httpx.Client(base_url=service.url) as client:
        client.get("/healthz")
        started = time.monotonic()
        for _ in range(25):
            client.get("/healthz")
        assert time.monotonic() - started < 25 * 0.03


def test_a_body_that_stops_is_408(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(body_timeout_s=0.3)) as service, service.connect() as slow:
        head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        answer = received(slow)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"reason":"timeout"' in answer


def test_a_body_that_drips_is_408(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(body_timeout_s=0.3)) as service, service.connect() as slow:
        slow.settimeout(0.1)
        head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
        for _ in range(20):
            with suppress(TimeoutError):
                slow.sendall(b" ")
                answer = slow.recv(65536)
                break
        assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_drops_its_work(tmp_path: Path) -> None:
    with listening(tmp_path) as service:
        service.predictor.may_go.clear()
        content = json.dumps({"products": BODY["products"] * 8}).encode()
        with service.connect() as leaving:
            head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            leaving.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
            wait_until(lambda: bool(service.predictor.batches))
        counted = 'facetry_errors_total{reason="client_gone"} 1.0'
        wait_until(lambda: counted in service.service.metrics.text().decode())
        service.predictor.may_go.set()
        wait_until(lambda: service.service.submitter.gate.num_inside == 0)
        computed = sum(map(len, service.predictor.batches))
        assert computed < 8
        assert ask(service).status_code == 200


def test_a_large_upload_is_413_and_is_not_kept(tmp_path: Path) -> None:
    limits = Limits(max_request_bytes=1_000_000)
    with listening(tmp_path, limits=limits) as service, service.connect() as client:
        head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {200 * 2**20}\r\n\r\n".encode())
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_chunked_upload_is_cut_off(tmp_path: Path) -> None:
    limits = Limits(max_request_bytes=100_000)
    with listening(tmp_path, limits=limits) as service, service.connect() as client:
        head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = f"{10_000:x}\r\n".encode() + b"x" * 10_000 + b"\r\n"
        client.sendall(chunk * 11)
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_refused_body_that_drips_ends_the_connection(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(header_timeout_s=0.3)) as service, service.connect() as slow:
        slow.sendall(b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        slow.settimeout(0.05)
        assert is_closed(slow, dripping=b"x")


def test_a_client_that_does_not_read_its_answers_loses_its_connection(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(body_timeout_s=0.3)) as service, service.connect() as deaf:
        deaf.settimeout(1)
        asked = b"GET /v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000
        with suppress(OSError):
            deaf.sendall(asked)
        wait_until(lambda: not service.server.server_state.connections)


def test_the_bodies_of_all_requests_are_bounded_together(tmp_path: Path) -> None:
    limits = Limits(max_bytes_in_memory=100_000)
    with listening(tmp_path, limits=limits) as service:
        head = "POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        begun = f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 60_000
        with service.connect() as one, service.connect() as other:
            one.sendall(begun)
            other.sendall(begun)
            readable, *_ = select.select([one, other], [], [], 5)
            refused = received(readable[0])
            assert refused.startswith(b"HTTP/1.1 503")
            assert b"queue_full" in refused
        wait_until(lambda: ask(service).status_code == 200)


def test_very_long_headers_are_refused(tmp_path: Path) -> None:
    with listening(tmp_path) as service, service.connect() as client:
        with suppress(OSError):  # it may be closed meanwhile
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 500_000)
        assert client.recv(65536).startswith(b"HTTP/1.1 4")


def test_connections_beyond_the_bound_are_closed(tmp_path: Path) -> None:
    with listening(tmp_path, limits=Limits(max_connections=2)) as service:
        held = [service.connect() for _ in range(3)]
        try:
            assert held[2].recv(10) == b""
            held[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            for each in held:
                each.close()


def test_a_burst_gets_answers_or_503_and_nothing_is_lost(tmp_path: Path) -> None:
    settings = Batching(max_batch=4, max_wait_ms=1, queue_photos=4, num_decoders=1)
    with listening(tmp_path, batching=settings) as service:
        with httpx.Client(base_url=service.url, timeout=10) as client, ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(client.post, "/v1/predict", json=BODY) for _ in range(100)]
            statuses = [each.result().status_code for each in asked]
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert service.service.submitter.gate.num_inside == 0


def test_stopping_finishes_what_is_in_work(tmp_path: Path) -> None:
    with listening(tmp_path) as service, ThreadPoolExecutor(1) as pool:
        service.predictor.may_go.clear()
        in_work = pool.submit(ask, service)
        wait_until(lambda: bool(service.predictor.batches))
        service.service.refuse_new_work()
        service.server.should_exit = True
        service.predictor.may_go.set()
        assert in_work.result().status_code == 200


def test_stopping_while_models_are_loaded_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, closed, may_go = threading.Event(), threading.Event(), threading.Event()

    def load(name: str, _: Path) -> LoadedModel:
        begun.set()
        assert may_go.wait(10)
        return loaded(name, FakePredictor())

    models = {"shop": tmp_path, "other": tmp_path}
    service = make_service(service_config(tmp_path, models=models, num_job_workers=1), load)
    close = service.close
    monkeypatch.setattr(service, "close", lambda: (close(), closed.set()))
    server = make_server(service)
    with closing(bind("127.0.0.1", 0)) as own:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [own]}, daemon=True)
        thread.start()
        assert begun.wait(10)
        service.refuse_new_work()
        server.should_exit = True
        assert closed.wait(10)
        may_go.set()
        thread.join(10)
    assert not thread.is_alive()
    assert server.failure is None
    assert not service.is_ready
    assert not service.models.all()
    assert not [each.name for each in threading.enumerate() if each.name == "facetry-job"]


@pytest.mark.parametrize(("soft", "wanted"), [(1024, (3000, 4096)), (4096, None)])
def test_as_many_files_may_be_open_as_there_may_be_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, wanted: tuple[int, int] | None
) -> None:
    changed: list[object] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: changed.append(limits))
    allow_files(3000)
    assert changed == ([wanted] if wanted else [])


def test_a_system_that_allows_too_few_files_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 256))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with pytest.raises(SettingError, match="needs 3,000 open files"):
        allow_files(3000)


def test_an_address_that_is_taken_is_an_error_that_says_so() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(SettingError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1])
