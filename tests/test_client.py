"""The client says what it was asked to, tries again where that helps, and explains what went wrong."""

import base64
import email.utils
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from facetry.client import LONGEST_PAUSE_S, Client, Item, Job, JobOptions, Patience
from facetry.errors import FacetryError, ServiceError, SettingError

URL = "http://service.test/"

ANSWERS = {
    "model": {"name": "shop", "version": "abc"},
    "products": [
        {
            "id": "7",
            "category": "Sarees",
            "status": "ok",
            "problem": None,
            "predictions": [
                {
                    "attribute": "border",
                    "value": "small",
                    "confidence": 0.9,
                    "action": "fill",
                    "alternatives": ["small", "big"],
                    "reason": None,
                }
            ],
        },
        {
            "id": "8",
            "category": "Sarees",
            "status": "problem",
            "problem": "not an image",
            "predictions": [],
            "of a later version": 1,
        },
    ],
}

JOB = {"id": "a1", "model": "shop", "state": "waiting", "num_done": 0, "num_products": None}

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers requests with prepared replies, the last one again and again, and stores them."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(request)

    def client(self, retries: int = 2, key: str | None = None) -> Client:
        patience = Patience(retries=retries, sleep=self.pauses.append)
        return Client(URL, key, patience=patience, transport=httpx.MockTransport(self))


def refusal(status: int, reason: str = "queue_full", **headers: str) -> httpx.Response:
    error = {"reason": reason, "message": "No.", "hint": "Do otherwise.", "request_id": "1"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": error}, headers=names)


def test_products_are_sent_and_answers_come_back(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    photo.write_bytes(b"of a file")
    server = Server(httpx.Response(200, json=ANSWERS))
    items = [
        Item(id="7", category="Sarees", photos=photo, text="red"),
        Item(id="8", category="Sarees", photos=[b"one", str(photo)]),
    ]
    with server.client(key="facetry_abc") as client:
        answers = client.predict(items, model="shop")
    (request,) = server.requests
    assert (request.method, request.url) == ("POST", f"{URL}v1/predict")
    assert request.headers["Authorization"] == "Bearer facetry_abc"
    sent = json.loads(request.content)
    assert sent["model"] == "shop"
    photos = [[base64.b64decode(photo) for photo in each["photos"]] for each in sent["products"]]
    assert photos == [[b"of a file"], [b"one", b"of a file"]]
    assert [each["text"] for each in sent["products"]] == ["red", None]
    assert answers.model.version == "abc"
    first, second = answers.products
    assert first.values == {"border": "small"}
    assert first.predictions[0].alternatives == ("small", "big")
    assert (second.problem, second.values) == ("not an image", {})


def test_models_and_taxonomy() -> None:
    model = {"name": "shop", "version": "a", "kind": "classifier", "num_heads": 1, "categories": ["S"]}
    server = Server(
        httpx.Response(200, json={"models": [model]}),
        httpx.Response(200, json={"categories": {"S": {"border": ["a", "b"]}}}),
    )
    client = server.client()
    assert [each.categories for each in client.models()] == [("S",)]
    assert client.taxonomy("shop") == {"S": {"border": ("a", "b")}}
    assert str(server.requests[1].url) == f"{URL}v1/taxonomy?model=shop"


def test_a_job_from_its_table_to_its_result(tmp_path: Path) -> None:
    table, photos = tmp_path / "t.csv", tmp_path / "p.zip"
    table.write_text("id,category\n1,S\n")
    photos.write_bytes(b"PK")
    running = {**JOB, "state": "running", "num_products": 9, "num_done": 4}
    server = Server(
        httpx.Response(202, json=JOB),
        httpx.Response(200, json=running),
        httpx.Response(200, json={**running, "state": "done", "summary": {"columns": []}}),
        httpx.Response(200, content=b"filled"),
        httpx.Response(200, json={"jobs": [JOB]}),
        httpx.Response(200, json={**JOB, "state": "cancelled"}),
        httpx.Response(204),
    )
    client = server.client()
    options = JobOptions(precision=0.95, only=("border", "colour"), model="shop")
    job = client.submit_job(table, photos, options)
    assert (job.state, job.has_ended, job.num_products) == ("waiting", False, None)
    seen: list[Job] = []
    done = client.wait(job.id, pause_s=3, on_progress=seen.append)
    assert done.has_ended
    assert [each.num_done for each in seen] == [4, 4]
    assert server.pauses == [3]
    assert client.result(job.id, tmp_path / "out.csv").read_bytes() == b"filled"
    assert client.jobs() == (job,)
    assert client.cancel(job.id).state == "cancelled"
    client.delete(job.id)
    body = server.requests[0].content
    for part in (b'name="table"; filename="t.csv"', b"id,category", b'filename="p.zip"', b"0.95"):
        assert part in body
    assert body.count(b'name="only"') == 2
    paths = [f"{each.method} {each.url.path}" for each in server.requests]
    assert paths == [
        "POST /v1/jobs",
        "GET /v1/jobs/a1",
        "GET /v1/jobs/a1",
        "GET /v1/jobs/a1/result",
        "GET /v1/jobs",
        "POST /v1/jobs/a1/cancel",
        "DELETE /v1/jobs/a1",
    ]


def test_a_job_that_does_not_end_in_time() -> None:
    server = Server(httpx.Response(200, json=JOB))
    with pytest.raises(ServiceError, match="is waiting after 5 s") as caught:
        server.client().wait("a1", timeout_s=5)
    assert caught.value.reason == "timeout"
    assert server.pauses == [2, 2, 2]


def test_an_id_stays_within_its_place_in_the_path() -> None:
    server = Server(httpx.Response(200, json=JOB))
    server.client().job("../models?a=1")
    assert server.requests[0].url.raw_path == b"/v1/jobs/..%2Fmodels%3Fa%3D1"


@pytest.mark.parametrize("status", [429, 503])
def test_it_tries_again_and_waits_as_long_as_it_is_asked_to(status: int) -> None:
    server = Server(refusal(status, Retry_After="7"), httpx.Response(200, json=JOB))
    assert server.client().job("a1").id == "a1"
    assert len(server.pauses) == 1
    assert 7 <= server.pauses[0] <= 7 * 1.2


def test_retry_after_as_a_date() -> None:
    date = email.utils.format_datetime(
        email.utils.parsedate_to_datetime(email.utils.formatdate(time.time() + 30))
    )
    server = Server(refusal(503, Retry_After=date), httpx.Response(200, json=JOB))
    server.client().job("a1")
    assert 20 < server.pauses[0] < 40


def test_pauses_double_up_to_a_bound() -> None:
    server = Server(refusal(503))
    with pytest.raises(ServiceError):
        server.client(retries=10).job("a1")
    assert len(server.pauses) == 10
    for attempt, pause_s in enumerate(server.pauses):
        longest = min(LONGEST_PAUSE_S, 0.5 * 2**attempt)
        assert longest / 2 <= pause_s <= longest


def test_it_does_not_wait_for_an_hour() -> None:
    server = Server(refusal(429, "quota_exceeded", Retry_After="3600"))
    with pytest.raises(ServiceError, match=r"No\.") as caught:
        server.client().job("a1")
    assert (caught.value.status, caught.value.reason) == (429, "quota_exceeded")
    assert caught.value.hint == "Do otherwise."
    assert not server.pauses


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 500, 504])
def test_other_refusals_are_final(status: int) -> None:
    server = Server(refusal(status, "invalid"))
    with pytest.raises(ServiceError) as caught:
        server.client().predict([Item(category="S", photos=b"a")])
    assert isinstance(caught.value, FacetryError)
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(502, json=["no"]),
        httpx.Response(502, json={"error": "text"}),
        httpx.Response(301, headers={"Location": "https://elsewhere.test"}),
    ],
)
def test_what_a_proxy_answers(reply: httpx.Response) -> None:
    with pytest.raises(ServiceError, match=f"HTTP {reply.status_code}"):
        Server(reply).client().models()


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"models": [{"name": 3}]}'])
def test_answers_that_are_none(content: bytes) -> None:
    with pytest.raises(ServiceError, match="cannot read") as caught:
        Server(httpx.Response(200, content=content)).client().models()
    assert caught.value.reason == "unreadable"


LOST = [httpx.ReadError("gone"), httpx.ReadTimeout("late"), httpx.RemoteProtocolError("half")]
NOT_REACHED = [httpx.ConnectError("refused"), httpx.ConnectTimeout("late")]


@pytest.mark.parametrize("error", [*LOST, *NOT_REACHED])
def test_a_lost_connection_is_made_again_where_nothing_can_be_doubled(error: Exception) -> None:
    server = Server(error, httpx.Response(200, json=ANSWERS))
    server.client().predict([Item(category="S", photos=b"a")])
    assert len(server.requests) == 2
    lost = Server(error)
    with pytest.raises(ServiceError, match=type(error).__name__) as caught:
        lost.client().models()
    assert (caught.value.status, caught.value.reason) == (0, "unreachable")
    assert len(lost.requests) == 3


@pytest.mark.parametrize(
    ("reply", "num_requests"),
    [(error, 1) for error in LOST] + [(error, 2) for error in NOT_REACHED] + [(refusal(503), 2)],
)
def test_a_job_is_not_sent_twice_if_it_may_have_been_taken(
    tmp_path: Path, reply: Reply, num_requests: int
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("id,category\n1,S\n")
    server = Server(reply, httpx.Response(202, json=JOB))
    try:
        server.client().submit_job(table)
    except ServiceError:
        assert num_requests == 1
    assert len(server.requests) == num_requests
    assert all(b"id,category" in each.content for each in server.requests), "read anew each time"


def broken() -> Iterator[bytes]:
    yield b"half of "
    raise httpx.ReadError("gone")


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")
    with pytest.raises(ServiceError, match="ReadError"):
        Server(lambda _: httpx.Response(200, content=broken())).client().result("a1", out)
    with pytest.raises(ServiceError) as caught:
        Server(refusal(409, "conflict")).client().result("a1", out)
    assert caught.value.reason == "conflict"
    assert [each.name for each in tmp_path.iterdir()] == ["out.csv"]
    assert out.read_text() == "of yesterday"
    replies: list[Reply] = [
        lambda _: httpx.Response(200, content=broken()),
        httpx.Response(200, text="all"),
    ]
    Server(*replies).client().result("a1", out)
    assert out.read_text() == "all"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Client("service.test"),
        lambda: Client("ftp://service.test"),
        lambda: Client("http://"),
        lambda: Client("http://service.test:port"),
        lambda: Client(URL, "two words"),
        lambda: Client(URL, "schlüssel"),
        lambda: Server().client().predict([Item(category="S", photos="nowhere.jpg")]),
        lambda: Server().client().submit_job("nowhere.csv"),
    ],
)
def test_what_cannot_be_asked(make: Callable[[], Any]) -> None:
    with pytest.raises(SettingError):
        make()
