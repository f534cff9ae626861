"""The Open Inference Protocol, version 2, over HTTP: what gateways such as KServe's speak."""

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from facetry.service.api.documents import ALWAYS, refusals
from facetry.service.predicting import answer_items, require_room
from facetry.service.problems import Problem
from facetry.service.state import Current, MayPredict
from facetry.service.tensors import (
    HEADER_LENGTH,
    INPUTS,
    NEEDED,
    OUTPUTS,
    Datatype,
    InferResult,
    read_inference,
    write_answers,
)

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

EXTENSIONS: Final = ("binary_tensor_data",)


class InferenceError(BaseModel):
    """Why a request was refused."""

    error: str


class ServerMetadata(BaseModel):
    """What serves."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process is alive."""

    live: bool


class Ready(BaseModel):
    """Whether all models are ready."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model is ready."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives; -1 is a dimension of any size."""

    name: str
    datatype: Datatype
    shape: list[int] = Field(examples=[[-1]])


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals with these statuses, in the protocol's form."""
    return {status: {**each, "model": InferenceError} for status, each in refusals(*statuses).items()}


_INPUT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"enum": [*INPUTS]},
        "shape": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 1,
            "maxItems": 1,
        },
        "datatype": {"const": "BYTES"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}

_PIXEL: Final = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": ["string", "null"], "maxLength": 1000},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _INPUT, "minItems": len(NEEDED)},
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"enum": [*OUTPUTS]},
                                    "parameters": {"type": "object"},
                                },
                                "additionalProperties": False,
                            },
                        },
                    },
                    "additionalProperties": False,
                },
                "example": {
                    "inputs": [
                        {"name": "image", "shape": [1], "datatype": "BYTES", "data": [_PIXEL]},
                        {"name": "category", "shape": [1], "datatype": "BYTES", "data": ["Sarees"]},
                    ]
                },
            }
        },
    }
}


@router.get("", response_model=ServerMetadata, responses=_refusals(*ALWAYS), summary="What serves")
async def server_metadata() -> ServerMetadata:
    """The server's name and version; no key is needed."""
    return ServerMetadata(name="facetry", version=version("facetry"), extensions=[*EXTENSIONS])


@router.get("/health/live", response_model=Live, responses=_refusals(*ALWAYS), summary="Alive?")
async def live() -> Live:
    """Answers as long as the process does; no key is needed."""
    return Live(live=True)


@router.get("/health/ready", response_model=Ready, responses=_refusals(*ALWAYS), summary="Ready?")
async def ready(service: Current) -> Ready:
    """Answers once the models are warm and until the service shuts down; no key is needed."""
    if not service.is_ready:
        raise Problem("not_ready", "The service is starting or stopping.", retry_after_s=2)
    return Ready(ready=True)


@router.get(
    "/models/{name}",
    response_model=ModelMetadata,
    responses=_refusals(*ALWAYS, 404),
    summary="What a model takes and gives",
)
async def model_metadata(name: str, service: Current, _: MayPredict) -> ModelMetadata:
    """The tensors that a model takes and gives: photos are files' bytes, texts UTF-8."""
    loaded = service.models.get(name).loaded
    num_slots = loaded.taxonomy.num_slots
    return ModelMetadata(
        name=loaded.name,
        versions=[loaded.version],
        platform=f"facetry_{loaded.folder.kind}",
        inputs=[TensorMetadata(name=each, datatype="BYTES", shape=[-1]) for each in INPUTS],
        outputs=[
            TensorMetadata(
                name=each,
                datatype=datatype,
                shape=[-1] if each in {"id", "problem"} else [-1, num_slots],
            )
            for each, datatype in OUTPUTS.items()
        ],
    )


@router.get(
    "/models/{name}/ready",
    response_model=ModelReady,
    responses=_refusals(*ALWAYS, 404),
    summary="Is a model ready?",
)
async def model_ready(name: str, service: Current, _: MayPredict) -> ModelReady:
    """Answers once the model is warm."""
    return ModelReady(name=service.models.get(name).name, ready=True)


@router.post(
    "/models/{name}/infer",
    response_model=InferResult,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        **_refusals(*ALWAYS, 404, 429, 504),
    },
    openapi_extra=_BODY,
    summary="Predict products from their photos",
)
async def infer(name: str, request: Request, service: Current, caller: MayPredict) -> Response:
    """Predict each product's attributes; what cannot be predicted has a `problem`, and empty answers.

    `image` holds files' bytes, in base64 where it is JSON; `category` one of the taxonomy's for each.
    The binary data extension is understood, for inputs and for outputs.
    """
    require_room(service)
    length = request.headers.get(HEADER_LENGTH)
    asked = await service.read(read_inference, await request.body(), length, service.config.limits)
    answered = await answer_items(service, request, caller, name, asked.items)
    loaded = answered.model.loaded
    body, json_length = write_answers(
        asked,
        answered.answers,
        loaded.taxonomy.num_slots,
        model=loaded.name,
        version=loaded.version,
    )
    if json_length is None:
        return Response(body, media_type="application/json")
    headers = {HEADER_LENGTH: str(json_length)}
    return Response(body, headers=headers, media_type="application/octet-stream")
