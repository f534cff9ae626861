"""`POST /v1/predict`: photos in, values out, in one request."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from facetry.predictions import Action
from facetry.service.answers import Answer
from facetry.service.api.documents import REFUSALS
from facetry.service.predicting import answer_items, require_room
from facetry.service.reading import PredictBody, read_products
from facetry.service.state import Current, MayPredict

router = APIRouter(tags=["predict"])

_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


class ModelVersion(BaseModel):
    """The model that answered."""

    name: str
    version: str = Field(description="Changes with every change of its answers.")


class CellBody(BaseModel):
    """What was predicted for one attribute."""

    attribute: str
    value: str
    confidence: float = Field(ge=0, le=1, description="Calibrated probability of the value.")
    action: Action | None = Field(
        None, description="What to do with it; null where the service promises no precision."
    )
    alternatives: list[str] | None = Field(
        None, description="What a person is to choose from, the most probable first."
    )
    reason: str | None = Field(None, description="Why it may not be filled in, whatever its confidence.")


class AnswerBody(BaseModel):
    """What was predicted for one product."""

    id: str
    category: str
    status: Literal["ok", "problem"]
    problem: str | None = Field(
        None, description="Why nothing was predicted.", examples=["not an image"]
    )
    predictions: list[CellBody]


class PredictResponse(BaseModel):
    """The answers, in the order of the request."""

    model: ModelVersion
    products: list[AnswerBody]


_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["photo", "category"],
    "properties": {
        "photo": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "binary"},
            "description": "A file for each product.",
        },
        "category": {
            "type": "array",
            "items": {"type": "string"},
            "description": "One for all, or each.",
        },
        "id": {"type": "array", "items": {"type": "string"}},
        "text": {"type": "array", "items": {"type": "string"}},
        "model": {"type": "string"},
    },
    "additionalProperties": False,
}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of products without references, which would lead nowhere in the whole description."""
    schema["properties"]["products"]["items"] = schema.pop("$defs")["ProductBody"]
    return schema


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _inlined(PredictBody.model_json_schema()),
                "example": {"products": [{"id": "1", "category": "Sarees", "photos": [_PIXEL]}]},
            },
            "multipart/form-data": {"schema": _FORM},
        },
    }
}


@router.post(
    "/v1/predict",
    response_model=PredictResponse,
    responses=REFUSALS,
    openapi_extra=_BODY,
    summary="Predict products from their photos",
)
async def predict(request: Request, service: Current, caller: MayPredict) -> PredictResponse:
    """Predict each product's attributes; a photo that cannot be read is a `problem`, never a guess.

    Send JSON with photos in base64, or a form with a file `photo` for each product.
    """
    require_room(service)
    name, items = await read_products(request, service)
    answered = await answer_items(service, request, caller, name, items)
    model = answered.model.loaded
    return PredictResponse(
        model=ModelVersion(name=model.name, version=model.version),
        products=[_body(each) for each in answered.answers],
    )


def _body(answer: Answer) -> AnswerBody:
    return AnswerBody(
        id=answer.id,
        category=answer.category,
        status="problem" if answer.problem else "ok",
        problem=answer.problem or None,
        predictions=[
            CellBody(
                attribute=cell.attribute,
                value=cell.value,
                confidence=cell.confidence,
                action=cell.action,
                alternatives=None if cell.alternatives is None else list(cell.alternatives),
                reason=cell.reason,
            )
            for cell in answer.cells
        ],
    )
