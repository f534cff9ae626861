"""The Open Inference Protocol is read strictly, and answered in the form that is asked for."""

import base64
import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facetry.service.answers import Answer, CellAnswer
from facetry.service.config import Limits
from facetry.service.problems import Problem
from facetry.service.tensors import OUTPUTS, Inference, read_inference, write_answers

LIMITS = Limits(max_photos=3)
PHOTOS = [b"\xff\xd8one", b"\x89PNG two"]

Tensor = dict[str, Any]


def tensor(name: str, *data: str, **changes: Any) -> Tensor:
    return {"name": name, "shape": [len(data)], "datatype": "BYTES", "data": [*data], **changes}


def image(*photos: bytes, **changes: Any) -> Tensor:
    return tensor("image", *(base64.b64encode(each).decode() for each in photos), **changes)


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)


def binary(name: str, num_elements: int, content: bytes, **changes: Any) -> Tensor:
    return {
        "name": name,
        "shape": [num_elements],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(content)},
        **changes,
    }


IMAGE, CATEGORY = image(*PHOTOS), tensor("category", "Sarees", "Kurtis")


def read(*inputs: Tensor, tail: bytes | None = None, **changes: Any) -> Inference:
    head = json.dumps({"inputs": [*inputs], **changes}).encode()
    return read_inference(head + (tail or b""), None if tail is None else str(len(head)), LIMITS)


def test_products_in_json() -> None:
    texts, ids = tensor("text", "a red saree", ""), tensor("id", "7", "å")
    asked = read(IMAGE, CATEGORY, texts, ids, id="of mine", parameters={"priority": 1})
    found = [(each.id, each.category, each.text, each.photos) for each in asked.items]
    assert found == [
        ("7", "Sarees", "a red saree", (PHOTOS[0],)),
        ("å", "Kurtis", "", (PHOTOS[1],)),
    ]
    assert asked.id == "of mine"
    assert asked.outputs == dict.fromkeys(OUTPUTS, False)


def test_without_ids_and_texts() -> None:
    found = [(each.id, each.text) for each in read(IMAGE, CATEGORY).items]
    assert found == [("0", None), ("1", None)]


@pytest.mark.parametrize("is_category_binary", [True, False])
def test_products_with_binary_data(is_category_binary: bool) -> None:
    photos, categories = packed(*PHOTOS), packed(b"Sarees", b"Kurtis")
    second = binary("category", 2, categories) if is_category_binary else CATEGORY
    tail = photos + categories * is_category_binary
    asked = read(binary("image", 2, photos), second, tail=tail)
    assert [each.photos[0] for each in asked.items] == PHOTOS
    assert [each.category for each in asked.items] == ["Sarees", "Kurtis"]


def test_json_alone_may_have_its_length_as_well() -> None:
    assert len(read(IMAGE, CATEGORY, tail=b"").items) == 2


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("are needed", {"inputs": []}),
    ("are needed", {"inputs": [IMAGE]}),
    ("each once", {"inputs": [IMAGE, IMAGE, CATEGORY]}),
    ("no input 'photo'", {"inputs": [IMAGE, CATEGORY, tensor("photo", "a", "b")]}),
    ("same shape", {"inputs": [IMAGE, tensor("category", "Sarees")]}),
    ("same shape", {"inputs": [image(), tensor("category")]}),
    ("same shape", {"inputs": [image(*PHOTOS, shape=[2, 1]), CATEGORY]}),
    ("same shape", {"inputs": [image(*PHOTOS, shape=[]), CATEGORY]}),
    ("same shape", {"inputs": [image(*PHOTOS, shape=[-1]), CATEGORY]}),
    ("has 2 elements", {"inputs": [image(*PHOTOS, shape=[1]), tensor("category", "a")]}),
    ("is BYTES", {"inputs": [image(*PHOTOS, datatype="UINT8"), CATEGORY]}),
    ("either data", {"inputs": [image(*PHOTOS, data=None), CATEGORY]}),
    ("either data", {"inputs": [image(*PHOTOS, parameters={"binary_data_size": 0}), CATEGORY]}),
    ("no number of bytes", {"inputs": [binary("image", 2, b"abc"), CATEGORY]}),
    ("no base64", {"inputs": [tensor("image", "a!", "b"), CATEGORY]}),
    ("no base64", {"inputs": [tensor("image", "å", "b"), CATEGORY]}),
    ("category has more than 1,000", {"inputs": [IMAGE, tensor("category", "a", "b" * 1001)]}),
    ("no output 'logits'", {"outputs": [{"name": "logits"}]}),
    ("named twice", {"outputs": [{"name": "values"}, {"name": "values"}]}),
    ("true or false", {"outputs": [{"name": "values", "parameters": {"binary_data": 1}}]}),
    ("true or false", {"parameters": {"binary_data_output": "yes"}}),
    ("cannot be read", {"inputs": 3}),
    ("cannot be read", {"inputs": [{"name": "image"}]}),
    ("cannot be read", {"inputs": [tensor("image", 1, 2), CATEGORY]}),  # type: ignore[arg-type]
    ("cannot be read", {"inputs": [image(*PHOTOS, shape=["2"]), CATEGORY]}),
    ("cannot be read", {"unknown": 1}),
    ("cannot be read", {"id": 7}),
    ("cannot be read", {"parameters": {"deep": {"a": 1}}}),
]


@pytest.mark.parametrize(("message", "changes"), REFUSED)
def test_what_does_not_keep_to_the_protocol(message: str, changes: dict[str, Any]) -> None:
    body = json.dumps({"inputs": [IMAGE, CATEGORY], **changes}).encode()
    with pytest.raises(Problem) as caught:
        read_inference(body, None, LIMITS)
    assert caught.value.status == 400
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("message", "content", "num_elements"),
    [
        ("within an element", packed(*PHOTOS)[:-1], 2),
        ("within an element", packed(*PHOTOS) + b"\0\0\0", 2),
        ("within an element", b"\xff\xff\xff\xff" + b"a" * 20, 2),
        ("has 1 elements", packed(PHOTOS[0]), 2),
        ("has 0 elements", b"", 2),
        ("has 3 elements", packed(b"", b"", b""), 2),
    ],
)
def test_binary_data_that_does_not_fit(message: str, content: bytes, num_elements: int) -> None:
    with pytest.raises(Problem) as caught:
        read(binary("image", num_elements, content), CATEGORY, tail=content)
    assert caught.value.status == 400
    assert message in caught.value.message


def test_binary_text_that_is_not_utf_8() -> None:
    content = packed(b"Sarees", b"\xff\xfe")
    with pytest.raises(Problem, match="not UTF-8") as caught:
        read(IMAGE, binary("category", 2, content), tail=content)
    assert caught.value.status == 400


@pytest.mark.parametrize("size", [True, -1, 1.5, "3", 10**30])
def test_sizes_that_are_none(size: object) -> None:
    first = binary("image", 2, b"", parameters={"binary_data_size": size})
    with pytest.raises(Problem) as caught:
        read(first, CATEGORY, tail=packed(*PHOTOS))
    assert caught.value.status == 400


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣", "x", "9" * 5000, "100000"])
def test_lengths_of_json_that_are_none(length: str) -> None:
    with pytest.raises(Problem, match="no length of JSON") as caught:
        read_inference(b"{}", length, LIMITS)
    assert caught.value.status == 400


def test_bytes_that_belong_to_no_input() -> None:
    with pytest.raises(Problem, match="3 bytes follow"):
        read(IMAGE, CATEGORY, tail=b"abc")


def test_too_many_photos() -> None:
    with pytest.raises(Problem, match="4 photos; at most 3") as caught:
        read(image(*[b"a"] * 4), tensor("category", *"abcd"))
    assert caught.value.status == 413


@given(body=st.binary(max_size=200), length=st.none() | st.integers(0, 250).map(str))
def test_any_bytes_are_read_or_refused(body: bytes, length: str | None) -> None:
    with pytest.raises(Problem):
        read_inference(body, length, LIMITS)


@given(content=st.binary(max_size=60), num_elements=st.integers(1, 3))
def test_any_elements_are_read_or_refused(content: bytes, num_elements: int) -> None:
    categories = tensor("category", *["Sarees"] * num_elements)
    with suppress(Problem):
        asked = read(binary("image", num_elements, content), categories, tail=content)
        assert packed(*(each.photos[0] for each in asked.items)) == content


ANSWERS = [
    Answer(
        id="7",
        category="Sarees",
        problem="",
        cells=(
            CellAnswer(attribute="border", value="schmal ✓", confidence=0.75, action="fill"),
            CellAnswer(attribute="colour", value="red", confidence=0.5),
        ),
    ),
    Answer(id="8", category="Sarees", problem="not an image"),
]

WRITTEN: dict[str, tuple[list[int], list[object]]] = {
    "id": ([2], ["7", "8"]),
    "problem": ([2], ["", "not an image"]),
    "attributes": ([2, 3], ["border", "colour", "", "", "", ""]),
    "values": ([2, 3], ["schmal ✓", "red", "", "", "", ""]),
    "confidences": ([2, 3], [0.75, 0.5, 0, 0, 0, 0]),
    "actions": ([2, 3], ["fill", "", "", "", "", ""]),
}


def write(**changes: Any) -> tuple[bytes, int | None]:
    asked = read(IMAGE, CATEGORY, **changes)
    return write_answers(asked, ANSWERS, 3, model="shop", version="abc")


def test_answers_in_json() -> None:
    body, length = write(id="of mine")
    assert length is None
    found = json.loads(body)
    assert (found["model_name"], found["model_version"], found["id"]) == ("shop", "abc", "of mine")
    assert {each["name"]: (each["shape"], each["data"]) for each in found["outputs"]} == WRITTEN
    assert {each["name"]: each["datatype"] for each in found["outputs"]} == OUTPUTS
    assert not any("parameters" in each for each in found["outputs"])


def test_only_the_outputs_that_are_wanted_in_their_order() -> None:
    body, _ = write(outputs=[{"name": "values"}, {"name": "id"}])
    assert [each["name"] for each in json.loads(body)["outputs"]] == ["values", "id"]
    assert "id" not in json.loads(body)


def unpack(content: bytes) -> list[str]:
    texts = []
    while content:
        (length,) = struct.unpack_from("<I", content)
        texts.append(content[4 : 4 + length].decode())
        content = content[4 + length :]
    return texts


@pytest.mark.parametrize(
    ("changes", "are_binary"),
    [
        ({"parameters": {"binary_data_output": True}}, set(OUTPUTS)),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "values", "parameters": {"binary_data": False}}, {"name": "id"}],
            },
            {"id"},
        ),
        (
            {"outputs": [{"name": "confidences", "parameters": {"binary_data": True}}, {"name": "id"}]},
            {"confidences"},
        ),
    ],
)
def test_binary_answers(changes: dict[str, Any], are_binary: set[str]) -> None:
    body, length = write(**changes)
    assert length is not None
    tail = body[length:]
    for each in json.loads(body[:length])["outputs"]:
        name = each["name"]
        shape, elements = WRITTEN[name]
        assert each["shape"] == shape
        if name not in are_binary:
            assert each["data"] == elements
            continue
        assert "data" not in each
        size = each["parameters"]["binary_data_size"]
        content, tail = tail[:size], tail[size:]
        found = np.frombuffer(content, "<f4").tolist() if name == "confidences" else unpack(content)
        assert found == elements
    assert not tail
