"""Tensors of the Open Inference Protocol (version 2): products out of them, answers into them.

A request is JSON, or JSON followed by the bytes of its inputs (the binary data extension): then the
header `Inference-Header-Content-Length` says how long the JSON is, and the parameter `binary_data_size`
how many bytes follow for an input. Each element of a BYTES tensor in them is its length, 4 bytes with
the lowest first, and its bytes. In JSON a photo is base64.

Shapes: N products, A attributes of the category with most.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints

from facetry.service.answers import Answer, PhotoItem
from facetry.service.config import Limits
from facetry.service.problems import Problem
from facetry.service.reading import parse_json, too_many_photos

HEADER_LENGTH: Final = "Inference-Header-Content-Length"

Datatype = Literal["BYTES", "FP32"]

INPUTS: Final = ("image", "category", "text", "id")
"""The names of the inputs, each BYTES [N]; the last two may be left out."""

NEEDED: Final = ("image", "category")

OUTPUTS: Final[Mapping[str, Datatype]] = {
    "id": "BYTES",
    "problem": "BYTES",
    "attributes": "BYTES",
    "values": "BYTES",
    "confidences": "FP32",
    "actions": "BYTES",
}
"""The datatypes of the outputs: `id` and `problem` are [N], the others [N, A]."""

_MAX_CHARACTERS: Final = {"category": 1000, "id": 1000, "text": 20_000}
_NAME = Annotated[str, StringConstraints(max_length=1000)]

Parameters = dict[str, bool | int | float | str]
"""Parameters of a request or a tensor; those of extensions that are not known mean nothing."""


class InputTensor(BaseModel):
    """An input, with its elements in `data` or, where it has the parameter, behind the JSON."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _NAME
    shape: Annotated[list[int], FailFast()]
    datatype: _NAME
    parameters: Parameters = {}
    data: list[str] | None = Field(None, fail_fast=True)


class WantedOutput(BaseModel):
    """An output that the client wants."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _NAME
    parameters: Parameters = {}


class InferBody(BaseModel):
    """The JSON of a request for inference."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: _NAME | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[InputTensor], FailFast()]
    outputs: Annotated[list[WantedOutput], FailFast()] = []


class OutputTensor(BaseModel):
    """An output; `data` is flat, row by row, and absent where the bytes are behind the JSON."""

    name: str = Field(examples=["values"])
    shape: list[int] = Field(examples=[[1, 2]])
    datatype: Datatype
    parameters: Parameters | None = None
    data: list[str | float] | None = Field(None, examples=[["small border", ""]])


class InferResult(BaseModel):
    """The JSON of an answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """A request for inference: its products, and which outputs are wanted, binary or in JSON."""

    id: str | None
    items: Sequence[PhotoItem]
    outputs: Mapping[str, bool]


def read_inference(body: bytes, header_length: str | None, limits: Limits) -> Inference:
    """Read a request's body; `header_length` is the value of its `HEADER_LENGTH`, if it has it.

    Raises:
        Problem: it does not keep to the protocol, or asks for what there is not.
    """
    head, tail = _split(body, header_length)
    try:
        asked = parse_json(InferBody, head)
    except Problem as problem:
        raise _bad(problem.message) from problem
    return Inference(id=asked.id, items=_items(asked.inputs, tail, limits), outputs=_wanted(asked))


def _bad(message: str) -> Problem:
    return Problem("bad_request", message)


def _split(body: bytes, header_length: str | None) -> tuple[bytes, memoryview]:
    """The JSON, and the bytes behind it."""
    if header_length is None:
        return body, memoryview(b"")
    is_number = header_length.isascii() and header_length.isdigit() and len(header_length) < 12
    if not is_number or int(header_length) > len(body):
        raise _bad(f"{HEADER_LENGTH} is no length of JSON in this body of {len(body):,} bytes.")
    length = int(header_length)
    return body[:length], memoryview(body)[length:]


def _wanted(asked: InferBody) -> dict[str, bool]:
    """For each output that is wanted whether it is to be binary; all outputs if none is named."""
    is_binary = _switch(asked.parameters, "binary_data_output", default=False)
    wanted: dict[str, bool] = {}
    for each in asked.outputs:
        if each.name not in OUTPUTS or each.name in wanted:
            raise _bad(
                f"There is no output {each.name[:100]!r}, or it is named twice. "
                f"Known: {', '.join(OUTPUTS)}."
            )
        wanted[each.name] = _switch(each.parameters, "binary_data", default=is_binary)
    return wanted or dict.fromkeys(OUTPUTS, is_binary)


def _switch(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _bad(f"The parameter {name} is true or false.")
    return value


def _items(tensors: Sequence[InputTensor], tail: memoryview, limits: Limits) -> list[PhotoItem]:
    """The products in the inputs."""
    num_items = _num_items(tensors, limits)
    columns: dict[str, list[bytes]] = {}
    for tensor in tensors:
        num_bytes = _binary_size(tensor, len(tail))
        if num_bytes is None:
            elements = _json_elements(tensor)
        else:
            found = _binary_elements(tensor, tail[:num_bytes])
            elements = list(islice(found, num_items + 1))  # there may be millions
            tail = tail[num_bytes:]
        if len(elements) != num_items:
            raise _bad(
                f"The input {tensor.name} has {len(elements):,} elements and the shape {tensor.shape}."
            )
        columns[tensor.name] = elements
    if len(tail):
        raise _bad(f"{len(tail):,} bytes follow that belong to no input.")
    texts = {name: _texts(name, columns[name]) for name in columns if name != "image"}
    return [
        PhotoItem(
            id=texts["id"][index] if "id" in texts else str(index),
            category=texts["category"][index],
            text=texts["text"][index] if "text" in texts else None,
            photos=(photo,),
        )
        for index, photo in enumerate(columns["image"])
    ]


def _num_items(tensors: Sequence[InputTensor], limits: Limits) -> int:
    """N, which all inputs must have; checked before any photo is decoded."""
    names = [each.name for each in tensors]
    unknown = [name for name in names if name not in INPUTS]
    if unknown or len(set(names)) < len(names) or not {*NEEDED} <= {*names}:
        raise _bad(
            f"The inputs are {', '.join(INPUTS)}, each once; {' and '.join(NEEDED)} are needed."
            + (f" There is no input {unknown[0][:100]!r}." if unknown else "")
        )
    for each in tensors:
        if each.datatype != "BYTES":
            raise _bad(f"The input {each.name} is BYTES, not {each.datatype[:20]!r}.")
        if len(each.shape) != 1 or each.shape != tensors[0].shape or each.shape[0] < 1:
            raise _bad("All inputs have the same shape [N], with N at least 1.")
    (num_items,) = tensors[0].shape
    if num_items > limits.max_photos:
        raise too_many_photos(num_items, limits)
    return num_items


def _binary_size(tensor: InputTensor, num_left: int) -> int | None:
    """How many bytes behind the JSON are the input's; None if it is in the JSON."""
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise _bad(f"The input {tensor.name} has either data or the parameter binary_data_size.")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= num_left:
        raise _bad(
            f"The binary_data_size of the input {tensor.name} is no number of bytes up to the "
            f"{num_left:,} that follow."
        )
    return size


def _json_elements(tensor: InputTensor) -> list[bytes]:
    texts = tensor.data or []
    if tensor.name != "image":
        return [text.encode(errors="surrogatepass") for text in texts]
    try:
        return [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as error:
        raise _bad(
            "An element of the input image is no base64. Encode the file's bytes, without line breaks "
            "and without a `data:` prefix."
        ) from error


def _binary_elements(tensor: InputTensor, content: memoryview) -> Iterator[bytes]:
    while len(content):
        if len(content) < 4:
            raise _cut_off(tensor)
        (length,) = struct.unpack_from("<I", content)
        if length > len(content) - 4:
            raise _cut_off(tensor)
        yield bytes(content[4 : 4 + length])
        content = content[4 + length :]


def _cut_off(tensor: InputTensor) -> Problem:
    return _bad(
        f"The bytes of the input {tensor.name} end within an element. Each is its length, 4 bytes with "
        "the lowest first, and its bytes."
    )


def _texts(name: str, elements: Sequence[bytes]) -> list[str]:
    try:
        texts = [str(each, "utf-8") for each in elements]
    except UnicodeDecodeError as error:
        raise _bad(f"An element of the input {name} is not UTF-8.") from error
    if max(map(len, texts)) > _MAX_CHARACTERS[name]:
        raise _bad(f"An element of the input {name} has more than {_MAX_CHARACTERS[name]:,} characters.")
    return texts


def write_answers(
    asked: Inference, answers: Sequence[Answer], num_slots: int, *, model: str, version: str
) -> tuple[bytes, int | None]:
    """The body of an answer, and how long its JSON is if bytes follow it.

    `num_slots` is A. Where there is no prediction, texts are empty and confidences are 0.
    """
    columns = _columns(answers, num_slots)
    tensors, chunks = [], []
    for name, is_binary in asked.outputs.items():
        column = columns[name]
        tensor = OutputTensor(name=name, shape=list(column.shape), datatype=OUTPUTS[name])
        if is_binary:
            chunks.append(_to_bytes(column, OUTPUTS[name]))
            tensor.parameters = {"binary_data_size": len(chunks[-1])}
        else:
            tensor.data = column.ravel().tolist()
        tensors.append(tensor)
    result = InferResult(model_name=model, model_version=version, id=asked.id, outputs=tensors)
    head = json.dumps(result.model_dump(exclude_none=True), separators=(",", ":")).encode()
    return b"".join([head, *chunks]), len(head) if chunks else None


def _columns(answers: Sequence[Answer], num_slots: int) -> dict[str, NDArray[np.generic]]:
    """The elements of all outputs."""
    shape = (len(answers), num_slots)
    texts = {name: np.full(shape, "", dtype=object) for name in ("attributes", "values", "actions")}
    confidences = np.zeros(shape)  # as JSON has them; FP32 would show digits that mean nothing
    for row, answer in enumerate(answers):
        for slot, cell in enumerate(answer.cells):
            texts["attributes"][row, slot] = cell.attribute
            texts["values"][row, slot] = cell.value
            texts["actions"][row, slot] = cell.action or ""
            confidences[row, slot] = cell.confidence
    return {
        "id": np.array([each.id for each in answers], dtype=object),
        "problem": np.array([each.problem for each in answers], dtype=object),
        "confidences": confidences,
        **texts,
    }


def _to_bytes(column: NDArray[np.generic], datatype: Datatype) -> bytes:
    if datatype == "FP32":
        return column.astype("<f4").tobytes()
    elements = [text.encode() for text in column.ravel().tolist()]
    return b"".join(struct.pack("<I", len(each)) + each for each in elements)
