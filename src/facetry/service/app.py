"""The application: routes, what surrounds them, and the life of the service behind them."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match

from facetry.errors import DatabaseUnavailable
from facetry.service.api import inference, jobs, predict, status
from facetry.service.logs import log
from facetry.service.middleware import Envelope
from facetry.service.problems import Problem
from facetry.service.responses import as_problem, invalid_problem, problem_response
from facetry.service.state import Extension, Service

_ROUTERS: Final = (predict.router, jobs.router, inference.router, status.router)

_DESCRIPTION: Final = """Attributes of products from their photos.

Every refusal has the body `{"error": {"reason", "message", "hint", "request_id"}}`; below `/v2` it has
the form of the Open Inference Protocol. Send keys as `Authorization: Bearer KEY`."""


def make_app(service: Service, extension: Extension | None = None) -> FastAPI:
    """The application of a service; the service is closed when the application shuts down."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if extension is not None:
            extension.end()
        service.close()

    app = FastAPI(
        title="Facetry",
        version=version("facetry"),
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    for router in _ROUTERS:
        app.include_router(router)
    if extension is not None:
        extension.install(app, service)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(
        Envelope, access=service.access, limits=service.config.limits, metrics=service.metrics
    )
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_response(request.scope, error)


async def _refused_by_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem_response(request.scope, as_problem(error))
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework itself names the methods of the path's first route alone.
        response.headers["Allow"] = ", ".join(sorted(_methods(request))) or response.headers["Allow"]
    return response


def _methods(request: Request) -> set[str]:
    """The methods of a request's path."""
    routes = [route for router in _ROUTERS for route in router.routes]
    matching = [each for each in routes if each.matches(request.scope)[0] is not Match.NONE]
    return {method for route in matching for method in getattr(route, "methods", None) or ()}


async def _not_valid(request: Request, error: Exception) -> JSONResponse:
    """A parameter that is not allowed."""
    assert isinstance(error, RequestValidationError)
    return problem_response(request.scope, invalid_problem(error))


async def _without_database(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with the database is for the log: it may name a path or a host."""
    assert isinstance(error, DatabaseUnavailable)
    log("database_unavailable", level=logging.ERROR, error=error)
    message = "The service cannot reach its database."
    problem = Problem("database_unavailable", message, hint="Try again.", retry_after_s=5)
    return problem_response(request.scope, problem)


_HANDLERS: Final = {
    Problem: _refused,
    HTTPException: _refused_by_framework,
    RequestValidationError: _not_valid,
    DatabaseUnavailable: _without_database,
}
