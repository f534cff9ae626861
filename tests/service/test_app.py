"""The application answers, refuses in one form, and holds every request within bounds."""

import base64
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from facetry.errors import DatabaseUnavailable, ModelFolderError
from facetry.service.app import make_app
from facetry.service.config import Batching, Limits
from facetry.service.jobs.store import Job
from facetry.service.models import LoadedModel
from facetry.service.state import make_service
from tests.service.fakes import FakePredictor, loaded, photo, service_config
from tests.service.serving import HERE, Serving, serving, wait_until


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as started:
        yield started


def product(colour: str = "red", **changes: object) -> dict[str, object]:
    encoded = base64.b64encode(photo(colour)).decode()
    return {"category": "Sarees", "photos": [encoded], **changes}


def body(*products: dict[str, object], **changes: object) -> dict[str, object]:
    return {"products": list(products), **changes}


def test_json_is_answered_in_order(shop: Serving) -> None:
    asked = body(product("red", id="a"), product("blue", category="Kurtis"), product("blue", id="c"))
    answer = shop.client.post("/v1/predict", json=asked).json()
    assert answer["model"] == {"name": "shop", "version": "1" * 12}
    shown = [
        (each["id"], each["status"], each["predictions"][0]["value"]) for each in answer["products"]
    ]
    assert shown == [("a", "ok", "red"), ("1", "ok", "blue"), ("c", "ok", "blue")]
    assert answer["products"][0]["predictions"][0]["confidence"] == pytest.approx(0.9)


def test_a_form_is_answered_as_json_is(shop: Serving) -> None:
    files = [("photo", ("1.jpg", photo("blue"))), ("photo", ("2.png", photo("red", form="PNG")))]
    data = {"category": "Sarees", "id": ["x", "y"]}
    answer = shop.client.post("/v1/predict", files=files, data=data).json()
    shown = [(each["id"], each["predictions"][0]["value"]) for each in answer["products"]]
    assert shown == [("x", "blue"), ("y", "red")]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"photos": [base64.b64encode(b"Dear customer").decode()]}, "not an image"),
        ({"photos": [base64.b64encode(photo()[:300]).decode()]}, "file is truncated"),
        ({"photos": [""]}, "file is empty"),
        ({"category": "Sari"}, "unknown category 'Sari'"),
        ({"category": "'; DROP TABLE jobs; --"}, 'unknown category "\'; DROP TABLE jobs; --"'),
    ],
)
def test_what_cannot_be_predicted_is_a_problem_beside_answers(
    shop: Serving, changes: dict[str, object], problem: str
) -> None:
    answer = shop.client.post("/v1/predict", json=body(product(**changes), product()))
    assert answer.status_code == 200
    bad, good = answer.json()["products"]
    assert (bad["status"], bad["problem"], bad["predictions"]) == ("problem", problem, [])
    assert good["status"] == "ok"


def test_hostile_ids_come_back_as_they_were(shop: Serving) -> None:
    for each in ("<script>alert(1)</script>", "'; DROP TABLE jobs; --", "\u202e", "=1+1"):
        answer = shop.client.post("/v1/predict", json=body(product(id=each)))
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["products"][0]["id"] == each


MANY = body(*[{"category": "Sarees", "photos": ["AAAA"]}] * 5000)

REFUSED = {
    "no JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "invalid"),
    "an array": ({"json": []}, 422, "invalid"),
    "no products": ({"json": body()}, 422, "invalid"),
    "no photo": ({"json": body(product(photos=[]))}, 422, "invalid"),
    "no base64": ({"json": body(product(photos=["%%%"]))}, 422, "invalid"),
    "unknown key": ({"json": body(product(), modle="shop")}, 422, "invalid"),
    "unknown model": ({"json": body(product(), model="shpo")}, 404, "not_found"),
    "5,000 photos": ({"json": MANY}, 413, "too_large"),
    "9 photos of one": ({"json": body(product(photos=["AAAA"] * 9))}, 413, "too_large"),
    "a large photo": ({"json": body(product(photos=["A" * 400_000]))}, 413, "too_large"),
    "text": (
        {"content": b"red", "headers": {"content-type": "text/plain"}},
        415,
        "unsupported_media_type",
    ),
    "no type": ({"content": b"red"}, 415, "unsupported_media_type"),
    "a form without a file": (
        {"data": {"category": "Sarees"}, "files": {}},
        415,
        "unsupported_media_type",
    ),
    "a form without a category": ({"files": {"photo": ("1.jpg", photo())}}, 422, "invalid"),
    "a broken form": (
        {"content": b"--x\r\nrubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        422,
        "invalid",
    ),
    "a form with two models": (
        {
            "files": {"photo": ("1.jpg", photo())},
            "data": {"category": "Sarees", "model": ["shop", "shop"]},
        },
        422,
        "invalid",
    ),
    "a form with a file for a model": (
        {
            "files": {"photo": ("1.jpg", photo()), "model": ("shop", b"shop")},
            "data": {"category": "Sarees"},
        },
        422,
        "invalid",
    ),
    "a form without a boundary": (
        {"content": b"rubbish", "headers": {"content-type": "multipart/form-data"}},
        400,
        "bad_request",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_in_one_form(shop: Serving, case: str) -> None:
    request, status, reason = REFUSED[case]
    answer = shop.client.post("/v1/predict", **request)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/predict", 405), ("GET", "/nowhere", 404), ("POST", "/v1/models/no/reload", 404)],
)
def test_paths_and_methods_that_do_not_exist(shop: Serving, method: str, path: str, status: int) -> None:
    answer = shop.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["reason"]


def test_a_large_body_is_refused_before_and_while_it_is_read(tmp_path: Path) -> None:
    limits = Limits(max_request_bytes=100_000)
    with serving(tmp_path, limits=limits) as shop:
        read = []

        def pieces() -> Iterator[bytes]:
            for _ in range(100):
                read.append(10_000)
                yield b"x" * 10_000

        kind = {"content-type": "application/json"}
        declared = shop.client.post("/v1/predict", content=b"x" * 200_000, headers=kind)
        streamed = shop.client.post("/v1/predict", content=pieces(), headers=kind)
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_large")


def test_a_form_waits_on_disk_though_the_folder_was_tidied_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = tmp_path / "uploads"
    monkeypatch.setattr(tempfile, "tempdir", str(uploads))
    large = photo() + bytes(2_000_000)
    with serving(tmp_path, limits=Limits()) as shop:
        files = {"photo": ("1.jpg", large)}
        answer = shop.client.post("/v1/predict", files=files, data={"category": "Sarees"})
        assert answer.status_code == 200
        uploads.rmdir()
        uploads.write_text("no folder")
        answer = shop.client.post("/v1/predict", files=files, data={"category": "Sarees"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (507, "storage_full")


def test_a_full_queue_is_503_at_once(tmp_path: Path) -> None:
    settings = Batching(max_batch=2, max_wait_ms=1, queue_photos=2, num_decoders=1)
    with serving(tmp_path, batching=settings) as shop, ThreadPoolExecutor(1) as pool:
        shop.predictor.may_go.clear()
        first = pool.submit(shop.client.post, "/v1/predict", json=body(product(), product()))
        wait_until(lambda: bool(shop.predictor.batches))
        refused = shop.client.post("/v1/predict", json=body(product()))
        shop.predictor.may_go.set()
        assert first.result().status_code == 200
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_deadline_is_504_and_drops_the_work(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(deadline_s=0.1)) as shop:
        shop.predictor.may_go.clear()
        answer = shop.client.post("/v1/predict", json=body(product()))
        assert (answer.status_code, answer.json()["error"]["reason"]) == (504, "deadline_exceeded")
        shop.predictor.may_go.set()
        wait_until(lambda: shop.service.submitter.gate.num_inside == 0)


def test_a_quota_is_429(tmp_path: Path) -> None:
    with serving(tmp_path, photos_per_minute=2) as shop:
        assert shop.client.post("/v1/predict", json=body(product(), product())).status_code == 200
        refused = shop.client.post("/v1/predict", json=body(product()))
    assert (refused.status_code, refused.json()["error"]["reason"]) == (429, "quota_exceeded")
    assert int(refused.headers["retry-after"]) >= 1


def test_keys_are_asked_for_where_they_are_needed(tmp_path: Path) -> None:
    with serving(tmp_path, requires_keys=True) as shop:
        _, predicts = shop.service.keys.create("till", ["predict"])
        _, rules = shop.service.keys.create("owner", ["admin"])
        statuses = [
            shop.client.post("/v1/predict", json=body(product()), headers=headers).status_code
            for headers in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": f"Bearer {predicts}"},
                {"x-api-key": rules},
            )
        ]
        asked = {"authorization": f"Bearer {predicts}"}
        reload_status = shop.client.post("/v1/models/shop/reload", headers=asked).status_code
        open_to_all = [shop.client.get(path).status_code for path in ("/healthz", "/readyz")]
    assert statuses == [401, 401, 200, 200]
    assert reload_status == 403
    assert open_to_all == [200, 200]


def test_every_answer_has_an_id_and_security_headers(shop: Serving) -> None:
    for path in ("/healthz", "/nowhere", "/v1/models", "/v1/openapi.json"):
        answer = shop.client.get(
            path, headers={"x-request-id": "my-id", "origin": "http://127.0.0.1:8000"}
        )
        assert answer.headers["x-request-id"] == "my-id"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    hostile = shop.client.get("/healthz", headers={"x-request-id": "a\tb" * 50})
    assert len(hostile.headers["x-request-id"]) == 16


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_of_another_site_can_do_nothing(shop: Serving, headers: dict[str, str]) -> None:
    answer = shop.client.post("/v1/predict", json=body(product()), headers=headers)
    assert answer.status_code == 403
    assert shop.predictor.batches == []


def test_whoever_looks_after_the_service_may_ask_by_its_address(shop: Serving) -> None:
    paths = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
    answers = [shop.client.get(path, headers={"host": "10.0.0.7:8000"}) for path in paths]
    assert [each.status_code for each in answers] == [200] * 4


def test_logs_hold_no_photo_key_or_text(shop: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = {"authorization": "Bearer facetry_SECRETKEY"}
    asked = body(product(id="SECRETID", text="SECRETTEXT", category="SECRETCATEGORY"), product())
    shop.client.post("/v1/predict?x=SECRETQUERY", json=asked, headers=secret)
    shop.client.get("/v1/jobs/SECRETPATH")
    lines = [json.dumps({**vars(each), "args": str(each.args)}, default=str) for each in caplog.records]
    own = [line for line in lines if "facetry.service" in line]
    assert len(own) >= 2
    assert "SECRET" not in "".join(own)


def test_health_and_readiness(tmp_path: Path) -> None:
    gate = threading.Event()
    predictor = FakePredictor()

    def load(name: str, _: Path) -> LoadedModel:
        assert gate.wait(10)
        return loaded(name, predictor)

    service = make_service(service_config(tmp_path), load)
    with TestClient(make_app(service), base_url=HERE) as client:
        starting = threading.Thread(target=service.start)
        starting.start()
        before = [client.get(path).status_code for path in ("/healthz", "/readyz")]
        refused = client.post("/v1/predict", json=body(product()))
        gate.set()
        starting.join(10)
        after = [client.get(path).status_code for path in ("/healthz", "/readyz")]
        service.refuse_new_work()
        at_the_end = client.get("/readyz").status_code
        late = client.post("/v1/predict", json=body(product()))
    assert (before, after, at_the_end) == ([200, 503], [200, 200], 503)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "not_ready")
    assert (late.status_code, late.json()["error"]["reason"]) == (503, "shutting_down")


def test_metrics_count_what_happened(shop: Serving) -> None:
    shop.client.post("/v1/predict", json=body(product(), product(photos=["AAAA"])))
    shop.client.post("/v1/predict", json=[])
    text = shop.client.get("/metrics").text
    for line in (
        'facetry_requests_total{method="POST",route="/v1/predict",status="200"} 1.0',
        'facetry_requests_total{method="POST",route="/v1/predict",status="422"} 1.0',
        'facetry_errors_total{reason="invalid"} 1.0',
        'facetry_photo_problems_total{problem="not an image"} 1.0',
        'facetry_batch_photos_count{model="shop"} 1.0',
        'facetry_actions_total{action="none",attribute="colour",category="Sarees",model="shop"} 1.0',
        "facetry_queue_photos 0.0",
        f'facetry_model_info{{model="shop",version="{"1" * 12}"}} 1.0',
    ):
        assert line in text.splitlines()


def test_metrics_come_without_the_database(shop: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable() -> None:
        raise DatabaseUnavailable("gone")

    assert "facetry_jobs{" in shop.client.get("/metrics").text
    monkeypatch.setattr(shop.service.jobs, "counts", unavailable)
    text = shop.client.get("/metrics").text
    assert "facetry_queue_photos 0.0" in text
    assert "facetry_jobs{" not in text


def test_predictions_do_not_wait_for_threads_that_wait_for_the_database(
    shop: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go, num_waiting = threading.Event(), threading.Semaphore(0)

    def wait(*_: object) -> list[Job]:
        num_waiting.release()
        may_go.wait(10)
        return []

    monkeypatch.setattr(shop.service.jobs, "for_owner", wait)
    with ThreadPoolExecutor(50) as pool:
        try:
            asked = [pool.submit(shop.client.get, "/v1/jobs") for _ in range(50)]
            for _ in range(40):  # as many threads as the routes share
                assert num_waiting.acquire(timeout=10)
            assert shop.client.post("/v1/predict", json=body(product())).status_code == 200
            assert not any(each.done() for each in asked)
        finally:
            may_go.set()


def test_models_and_taxonomy(shop: Serving) -> None:
    (model,) = shop.client.get("/v1/models").json()["models"]
    assert (model["name"], model["categories"], model["num_heads"]) == ("shop", ["Sarees", "Kurtis"], 2)
    found = shop.client.get("/v1/taxonomy", params={"model": "shop"}).json()
    assert found["categories"]["Sarees"] == {"colour": ["blue", "red"]}
    assert shop.client.get("/v1/taxonomy", params={"model": "no"}).status_code == 404


def test_a_new_version_is_switched_to_without_a_dropped_request(tmp_path: Path) -> None:
    versions = [loaded("shop", FakePredictor(), version=each) for each in "12"]
    old = versions[0].predictor
    assert isinstance(old, FakePredictor)
    coming = iter(versions)
    with serving(tmp_path, load=lambda *_: next(coming)) as shop, ThreadPoolExecutor(2) as pool:
        old.may_go.clear()
        in_flight = pool.submit(shop.client.post, "/v1/predict", json=body(product()))
        wait_until(lambda: bool(old.batches))
        reloading = pool.submit(shop.client.post, "/v1/models/shop/reload")
        wait_until(lambda: shop.service.models.get().loaded.fingerprint == "2" * 12)
        by_new = shop.client.post("/v1/predict", json=body(product())).json()
        old.may_go.set()
        by_old = in_flight.result().json()
        outcome = reloading.result().json()
    assert (by_old["model"]["version"], by_new["model"]["version"]) == ("1" * 12, "2" * 12)
    assert (outcome["outcome"], outcome["model"]["version"]) == ("replaced", "2" * 12)


def test_a_bad_new_version_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    found = [loaded("shop", FakePredictor())]

    def load(*_: object) -> LoadedModel:
        if not found:
            raise ModelFolderError("checksums.json is damaged.", hint="Copy it again.")
        return found.pop()

    with serving(tmp_path, load=load) as shop:
        refused = shop.client.post("/v1/models/shop/reload")
        assert refused.status_code == 409
        assert "the old one goes on" in refused.json()["error"]["message"]
        assert shop.client.post("/v1/predict", json=body(product())).status_code == 200
        assert (
            'facetry_reloads_total{model="shop",outcome="refused"} 1.0'
            in shop.client.get("/metrics").text
        )


def test_the_description_has_examples_and_leads_nowhere_wrong(shop: Serving) -> None:
    described = shop.client.get("/v1/openapi.json").json()
    text = json.dumps(described)
    names = set(described["components"]["schemas"])
    references = {each.split('"')[0] for each in text.split("#/components/schemas/")[1:]}
    assert references <= names
    assert "$defs" not in text
    assert described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
