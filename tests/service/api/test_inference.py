"""`/v2`: the Open Inference Protocol over HTTP, as gateways speak it."""

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facetry.service.tensors import HEADER_LENGTH, OUTPUTS
from tests.service.fakes import photo
from tests.service.serving import Serving, serving


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as started:
        yield started


def tensor(name: str, *data: str) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": [*data]}


def encoded(*photos: bytes) -> dict[str, Any]:
    return tensor("image", *(base64.b64encode(each).decode() for each in photos))


def by_name(outputs: list[dict[str, Any]]) -> dict[str, list[object]]:
    return {each["name"]: each["data"] for each in outputs}


def test_health_and_metadata(shop: Serving) -> None:
    def get(path: str) -> dict[str, Any]:
        answer = shop.client.get(path)
        assert answer.status_code == 200
        return dict(answer.json())

    assert get("/v2")["name"] == "facetry"
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"ready": True}
    assert get("/v2/models/shop/ready") == {"name": "shop", "ready": True}
    model = get("/v2/models/shop")
    assert (model["name"], model["versions"], model["platform"]) == (
        "shop",
        ["1" * 12],
        "facetry_classifier",
    )
    assert [each["name"] for each in model["inputs"]] == ["image", "category", "text", "id"]
    shapes = {each["name"]: each["shape"] for each in model["outputs"]}
    assert shapes == {name: [-1] if name in {"id", "problem"} else [-1, 1] for name in OUTPUTS}


def test_photos_in_json(shop: Serving) -> None:
    photos = encoded(photo("red"), photo("blue"), b"no photo", photo())
    inputs = [photos, tensor("category", "Sarees", "Kurtis", "Sarees", "Hats")]
    answer = shop.client.post("/v2/models/shop/infer", json={"inputs": inputs, "id": "42"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("42", "shop", "1" * 12)
    outputs = by_name(found["outputs"])
    assert outputs["values"] == ["red", "blue", "", ""]
    assert outputs["attributes"] == ["colour", "colour", "", ""]
    assert outputs["confidences"] == pytest.approx([0.9, 0.8, 0, 0])
    assert outputs["problem"] == ["", "", "not an image", "unknown category 'Hats'"]
    assert outputs["id"] == ["0", "1", "2", "3"]


def test_photos_and_answers_as_they_are(shop: Serving) -> None:
    photos = [photo("red"), photo("blue")]
    tail = b"".join(struct.pack("<I", len(each)) + each for each in photos)
    image = {
        "name": "image",
        "shape": [2],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(tail)},
    }
    asked = {
        "inputs": [image, tensor("category", "Sarees", "Sarees")],
        "outputs": [{"name": "values", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(asked).encode()
    headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    answer = shop.client.post("/v2/models/shop/infer", content=head + tail, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers[HEADER_LENGTH])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": len(answer.content) - length}
    assert answer.content[length:] == b"\3\0\0\0red\4\0\0\0blue"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v2/models/shop/infer", b"{", 400),
        ("POST", "/v2/models/shop/infer", b'{"inputs": []}', 400),
        ("POST", "/v2/models/shpo/infer", None, 404),
        ("GET", "/v2/models/shpo", None, 404),
        ("GET", "/v2/models/shpo/ready", None, 404),
        ("GET", "/v2/models/shop/infer", None, 405),
        ("GET", "/v2/modells", None, 404),
    ],
)
def test_refusals_have_the_form_of_the_protocol(
    shop: Serving, method: str, path: str, body: bytes | None, status: int
) -> None:
    sound = {"inputs": [encoded(photo()), tensor("category", "Sarees")]}
    content = json.dumps(sound).encode() if body is None else body
    answer = shop.client.request(method, path, content=content if method == "POST" else None)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert list(answer.json()) == ["error"]


def test_a_model_that_cannot_answer_is_not_ready(shop: Serving) -> None:
    shop.service.refuse_new_work()
    answer = shop.client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert "starting or stopping" in answer.json()["error"]
    assert shop.client.get("/v2/health/live").status_code == 200


def test_only_health_and_the_server_are_told_without_a_key(tmp_path: Path) -> None:
    with serving(tmp_path, requires_keys=True) as keyed:
        statuses = {
            path: keyed.client.get(path).status_code
            for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/shop")
        }
        infer = keyed.client.post("/v2/models/shop/infer", json={})
    assert statuses == {
        "/v2": 200,
        "/v2/health/live": 200,
        "/v2/health/ready": 200,
        "/v2/models/shop": 401,
    }
    assert infer.status_code == 401
