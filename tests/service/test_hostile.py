"""Whatever is sent is answered as the description allows, at little cost, and never with a 500."""

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished

from facetry.service.config import Batching, Limits
from tests.service.damaged import DAMAGED
from tests.service.fakes import photo
from tests.service.serving import Serving, listening, serving

REFUSALS = ["400", "413", "415", "422"]
"""What sound requests may be answered: a description cannot say that a text is base64 of a photo."""

WRONG_TYPE = "Schema-violating request accepted"

ACCEPTED = ["2xx", "401", "403", "404", "409", "429", "503", *REFUSALS]


def failures(url: str, num_examples: int) -> Iterator[str]:
    """What all checks of schemathesis find at the service at `url`."""
    config = SchemathesisConfig.from_dict(
        {
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            "generation": {"max-examples": num_examples, "deterministic": True, "database": "none"},
        }
    )
    described = schemathesis.openapi.from_url(f"{url}/v1/openapi.json", config=config)
    for event in from_schema(described).execute():
        if isinstance(event, NonFatalError):
            yield f"{event.label}: {event.value}"
        if isinstance(event, ScenarioFinished):
            recorder = event.recorder
            found = [node.failure_info for nodes in recorder.checks.values() for node in nodes]
            for each in filter(None, found):
                failure = each.failure
                if failure.title == WRONG_TYPE and "multipart/form-data" in each.code_sample:
                    continue  # an object in place of a text arrives as the text of an object
                yield f"{recorder.label}: {failure.title}: {failure.message}\n{each.code_sample}"


@pytest.mark.parametrize("num_examples", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_every_answer_is_one_that_the_description_allows(tmp_path: Path, num_examples: int) -> None:
    limits = Limits(max_photos=8, max_photo_bytes=200_000, deadline_s=5, body_timeout_s=0.2)
    with listening(tmp_path, limits=limits) as started:
        found = dict.fromkeys(failures(started.url, num_examples))
        assert started.service.is_ready
    assert not found, "\n\n".join(found)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A service with the limits that it has by default."""
    folder = tmp_path_factory.mktemp("shop")
    with serving(folder, limits=Limits(), batching=Batching(num_decoders=1)) as started:
        yield started


def memory_mb(name: str) -> int:
    """A figure of this process's memory: `VmRSS` is what it takes, `VmHWM` the most that it took."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024


def forget_peak() -> None:
    """Begin to measure `VmHWM` anew."""
    Path("/proc/self/clear_refs").write_text("5")


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize("make", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_photo_is_a_problem_at_little_cost(shop: Serving, make: Callable[[], bytes]) -> None:
    content = make()
    products = [{"category": "Sarees", "photos": [encoded(each)]} for each in (content, photo())]
    forget_peak()
    before_mb, before_s = memory_mb("VmRSS"), time.process_time()
    answer = shop.client.post("/v1/predict", json={"products": products})
    took_s, took_mb = time.process_time() - before_s, memory_mb("VmHWM") - before_mb
    assert answer.status_code == 200
    bad, good = answer.json()["products"]
    assert (bad["status"], bad["predictions"]) == ("problem", [])
    assert bad["problem"]
    assert good["status"] == "ok"
    assert took_s < 0.2
    assert took_mb < 300


def test_a_damaged_photo_is_none_in_the_inference_protocol_either(shop: Serving) -> None:
    photos = [encoded(make()) for make in DAMAGED.values()]
    inputs = [
        {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": data}
        for name, data in (("image", photos), ("category", ["Sarees"] * len(photos)))
    ]
    answer = shop.client.post("/v2/models/shop/infer", json={"inputs": inputs})
    assert answer.status_code == 200
    outputs = {each["name"]: each["data"] for each in answer.json()["outputs"]}
    assert all(outputs["problem"])
    assert not any(outputs["values"])
    assert not any(outputs["confidences"])


@pytest.mark.parametrize("side_px", [1, 2, 7])
def test_a_tiny_photo_is_still_a_photo(shop: Serving, side_px: int) -> None:
    content = photo("blue", size=(side_px, side_px), form="PNG")
    body = {"products": [{"category": "Sarees", "photos": [encoded(content)]}]}
    (product,) = shop.client.post("/v1/predict", json=body).json()["products"]
    assert product["predictions"][0]["value"] == "blue"


def test_a_photo_with_too_many_bytes_is_refused_before_it_is_decoded(shop: Serving) -> None:
    content = b"\xff\xd8" + bytes(shop.service.config.limits.max_photo_bytes)
    body = {"products": [{"category": "Sarees", "photos": [encoded(content)]}]}
    answer = shop.client.post("/v1/predict", json=body)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_large")


HOSTILE = ("'; DROP TABLE jobs; --", "<script>alert(1)</script>", "\u202e\0\n", "{{7*7}}", "=1+1", "%00")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_only_texts(
    shop: Serving, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    product = {"id": text, "category": text, "text": text, "photos": [encoded(photo())]}
    answer = shop.client.post("/v1/predict", json={"products": [product]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["products"][0]["id"] == text
    logged = "\n".join(record.getMessage() for record in caplog.records if "facetry" in record.name)
    assert text not in logged
    assert json.dumps(text) not in logged
