"""What the routes have in common in the OpenAPI description."""

from typing import Any, Final

from facetry.service.responses import ErrorBody

_DESCRIPTIONS: Final = {
    400: "The request cannot be read.",
    401: "No key, or one that is not valid.",
    403: "The key does not allow it, or the request comes from a page of another site.",
    404: "There is no such thing, or it is another key's.",
    405: "The path does not take this method.",
    408: "The body came too slowly.",
    409: "It cannot be done in its present state.",
    413: "Too many bytes or photos.",
    415: "A body of another type than those listed.",
    422: "A body that says something else than is allowed.",
    429: "The key's quota is used up: try again after Retry-After.",
    500: "An error in the service.",
    503: "Too many photos are in work, or the service starts or stops: try again after Retry-After.",
    504: "There was no answer in time.",
    507: "The service's disk is full.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals with these statuses, for a route's `responses`."""
    return {
        status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]} for status in sorted(statuses)
    }


ALWAYS: Final = (400, 401, 403, 408, 413, 422, 500, 503)
"""What any request may be answered."""

REFUSALS: Final = refusals(*ALWAYS, 404, 415, 429, 504)
"""What a request with photos may be answered."""
