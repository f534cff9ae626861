"""Health, metrics, models and their taxonomies."""

import logging
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from facetry.errors import DatabaseUnavailable, FacetryError
from facetry.service.api.documents import ALWAYS, refusals
from facetry.service.logs import log
from facetry.service.metrics import CONTENT_TYPE
from facetry.service.models import Outcome, ServedModel
from facetry.service.problems import Problem
from facetry.service.state import Current, MayAdmin, MayPredict, Service

router = APIRouter(tags=["status"])


class Health(BaseModel):
    """How the service is."""

    status: str = Field(examples=["ok"])


class ModelBody(BaseModel):
    """A model that is served."""

    name: str
    version: str = Field(description="Changes with every change of its answers.")
    kind: str = Field(examples=["classifier"])
    num_heads: int
    categories: list[str]
    precision: float | None = Field(description="The precision that is promised, if any.")
    promises: list[str] = Field(description="What that means, in words.")


class ModelsBody(BaseModel):
    """The models, in the order in which they were named; the first answers where none is."""

    models: list[ModelBody]


class ReloadBody(BaseModel):
    """What became of a reload."""

    outcome: Outcome
    model: ModelBody


@router.get("/healthz", response_model=Health, summary="Is the process alive?")
async def healthz() -> Health:
    """Answers as long as the process does; no key is needed."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=Health,
    responses=refusals(503),
    summary="Does it answer requests?",
)
async def readyz(service: Current) -> Health:
    """Answers once the models are warm and until the service shuts down; no key is needed."""
    if not service.is_ready:
        raise Problem("not_ready", "The service is starting or stopping.", retry_after_s=2)
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals(*ALWAYS)},
    summary="Metrics for Prometheus",
)
async def metrics(service: Current, _: MayAdmin) -> Response:
    """What is measured; see the operations guide for what to watch."""
    try:
        service.metrics.set_jobs(await run_in_threadpool(service.jobs.counts))
    except DatabaseUnavailable as error:  # the other numbers are wanted all the more
        log("database_unavailable", level=logging.ERROR, error=error)
        service.metrics.forget_jobs()
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@router.get(
    "/v1/models", response_model=ModelsBody, responses=refusals(*ALWAYS), summary="What is served"
)
async def models(service: Current, _: MayPredict) -> ModelsBody:
    """The models that are served."""
    service.models.get()
    return ModelsBody(models=[_model_body(each) for each in service.models.all()])


@router.get(
    "/v1/taxonomy",
    response_model=dict[str, Any],
    responses=refusals(*ALWAYS, 404),
    summary="Categories, attributes and values",
)
async def taxonomy(service: Current, _: MayPredict, model: str | None = None) -> dict[str, Any]:
    """The values of each attribute of each category that a model predicts."""
    found = service.models.get(model).taxonomy
    categories = {
        category: {
            head.attribute: list(head.values) for head in found.heads if head.category == category
        }
        for category in found.categories
    }
    return {"categories": categories}


@router.post(
    "/v1/models/{name}/reload",
    response_model=ReloadBody,
    responses=refusals(*ALWAYS, 404, 409),
    summary="Serve the newer version in the model's folder",
)
async def reload(name: str, service: Current, _: MayAdmin) -> ReloadBody:
    """Load the model's folder beside the version that answers, check it, and switch to it.

    No request is dropped. A version that cannot be served is refused, and the old one goes on.
    """
    outcome = await run_in_threadpool(reload_model, service, name)
    return ReloadBody(outcome=outcome, model=_model_body(service.models.get(name)))


def reload_model(service: Service, name: str) -> Outcome:
    """Reload a model; blocks.

    Raises:
        Problem: there is none, or the new version is refused.
    """
    try:
        return service.models.reload(name)
    except FacetryError as error:
        raise Problem(
            "conflict",
            f"The new version of {name!r} is refused, the old one goes on: {error.message}",
            hint=error.hint,
        ) from error


def _model_body(served: ServedModel) -> ModelBody:
    loaded = served.loaded
    promises = loaded.promises
    return ModelBody(
        name=loaded.name,
        version=loaded.version,
        kind=loaded.folder.kind,
        num_heads=loaded.taxonomy.num_heads,
        categories=list(loaded.taxonomy.categories),
        precision=promises.target if promises else None,
        promises=[promises.counts(), *promises.sentences()] if promises else [],
    )
