"""Why a request gets no answer: one exception for all routes, and its form in JSON.

{"error": {"reason": "queue_full", "message": "...", "hint": "...", "request_id": "..."}}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Reason = Literal[
    "bad_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "conflict",
    "too_large",
    "unsupported_media_type",
    "invalid",
    "quota_exceeded",
    "internal",
    "queue_full",
    "shutting_down",
    "not_ready",
    "database_unavailable",
    "storage_full",
    "deadline_exceeded",
    "timeout",
]

STATUS: Final[Mapping[Reason, int]] = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "timeout": 408,
    "conflict": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "quota_exceeded": 429,
    "internal": 500,
    "queue_full": 503,
    "shutting_down": 503,
    "not_ready": 503,
    "database_unavailable": 503,
    "deadline_exceeded": 504,
    "storage_full": 507,
}
"""The HTTP status of each reason."""


@dataclass(eq=False)
class Problem(Exception):
    """A request that is refused: the `reason` for programs, `message` and `hint` for people.

    No text in it may hold a photo, a key or a product's text. `retry_after_s` becomes Retry-After.
    """

    reason: Reason
    message: str
    hint: str = ""
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.reason]
