"""Refusals as responses: in the form of this API, or of the Open Inference Protocol below /v2."""

from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import Scope

from facetry.service.problems import STATUS, Problem, Reason

_REASONS: Final[dict[int, Reason]] = {STATUS[reason]: reason for reason in reversed(list(STATUS))}


class ErrorContent(BaseModel):
    """Why a request was refused."""

    reason: Reason = Field(description="For programs.", examples=["queue_full"])
    message: str = Field(description="For people: what was got, and what is allowed.")
    hint: str = Field("", description="What to do next.")
    request_id: str = Field(description="Stands in the service's log as well.")


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: ErrorContent


def problem_response(scope: Scope, problem: Problem) -> JSONResponse:
    """The response for a refused request; the log gets its reason from `scope`."""
    state = scope.setdefault("state", {})
    state["reason"] = problem.reason
    request_id = state.get("request_id", "")
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(problem.retry_after_s)))
    if problem.reason == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    content = {
        "reason": problem.reason,
        "message": problem.message,
        "hint": problem.hint,
        "request_id": request_id,
    }
    if scope["path"].startswith("/v2"):
        texts = filter(None, [problem.message, problem.hint])
        return JSONResponse({"error": " ".join(texts)}, problem.status, headers)
    return JSONResponse({"error": content}, problem.status, headers)


def invalid_problem(error: RequestValidationError) -> Problem:
    """The problem of a parameter that is not allowed; what was given is not quoted."""
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"])
    return Problem("invalid", f"{where}: {first['msg']}.")


def as_problem(error: HTTPException) -> Problem:
    """The problem that the framework's own refusal stands for."""
    phrase = HTTPStatus(error.status_code).phrase
    reason = _REASONS.get(error.status_code, "bad_request")
    return Problem(reason, f"{phrase}.", headers=dict(error.headers or {}))
