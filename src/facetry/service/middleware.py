"""What every request goes through: an id, bounds on its body, checks of its origin, headers, the log."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facetry.service.access import Access
from facetry.service.config import Limits
from facetry.service.logs import log
from facetry.service.metrics import Metrics
from facetry.service.problems import Problem
from facetry.service.responses import problem_response

SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Sent with every answer that does not have them of its own."""

CONTENT_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
"""What an answer that is no page may load: nothing."""

PROBES: Final = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
"""Paths that are asked by address, under no name of the service; they tell nothing to other sites."""

_CLOSE: Final = {"Connection": "close"}  # the rest of the body is not read

_LEAST_RATE: Final = 1000.0
"""Bytes of a body that come in a second at least, but for the time that one piece may take."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_TO_DISK: Final = re.compile(r"/v1/jobs|/review/[^/]+/import")
"""The paths of requests that may be as large as jobs: whole tables go to disk."""

_OWN_ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)


class ClientGone(Exception):
    """The client has closed its connection: nobody reads an answer."""


@dataclass(eq=False)
class _Exchange:
    """One request and its answer, as far as they have come."""

    scope: Scope
    request_id: str
    started: float
    status: int = 0
    reason: str | None = None

    @property
    def route(self) -> str:
        """The route's pattern, which holds no id."""
        route = self.scope.get("route")
        return str(getattr(route, "path", "none"))

    @property
    def method(self) -> str:
        """The method; "other" for one that a client may have made up."""
        method = str(self.scope["method"])
        return method if method in _METHODS else "other"


class Envelope:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, *, access: Access, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._metrics = metrics
        self._memory = _Memory(limits.max_bytes_in_memory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _OWN_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(scope=scope, request_id=request_id, started=time.monotonic())
        body = self._body(scope["path"], receive)
        try:
            await self._answer(exchange, headers, body, send)
        except ClientGone:
            exchange.status, exchange.reason = 499, "client_gone"
        finally:
            body.close()
            self._record(exchange, body.num_bytes)

    async def _answer(self, exchange: _Exchange, headers: Headers, body: "_Body", send: Send) -> None:
        """Run the application, or refuse the request; errors become answers."""
        scope = exchange.scope
        sending = _Sending(exchange, send)
        try:
            if scope["path"] not in PROBES and (refusal := self._access.refusal(headers)):
                raise refusal
            _require_plain(headers)
            body.require_declared(headers)
            await self._app(scope, body.receive, sending)
        except ClientGone:
            raise
        except Exception as error:  # a request's boundary: answered, logged, counted
            if not isinstance(error, Problem):
                log("failed", level=logging.ERROR, error=error, request_id=exchange.request_id)
                error = Problem("internal", "An error in the service.", hint="Its log says more.")
            if sending.has_begun:
                raise ClientGone from error  # the answer is cut off: there is no way to say why
            await problem_response(scope, error)(scope, body.receive, sending)

    def _body(self, path: str, receive: Receive) -> "_Body":
        """A request's body: a whole table goes to disk, and may be larger."""
        limits = self._limits
        if _TO_DISK.fullmatch(path.rstrip("/")):
            return _Body(receive, limits.max_job_bytes, limits.body_timeout_s)
        return _Body(receive, limits.max_request_bytes, limits.body_timeout_s, self._memory)

    def _record(self, exchange: _Exchange, num_bytes: int) -> None:
        seconds = time.monotonic() - exchange.started
        state: Mapping[str, Any] = exchange.scope["state"]
        reason = exchange.reason or state.get("reason")
        self._metrics.count_request(exchange.method, exchange.route, exchange.status, seconds)
        if reason:
            self._metrics.count_error(reason)
        log(
            "request",
            request_id=exchange.request_id,
            method=exchange.method,
            route=exchange.route,
            status=exchange.status,
            seconds=round(seconds, 4),
            reason=reason,
            key=state.get("key"),
            num_photos=state.get("num_photos"),
            num_bytes=num_bytes,
        )


def _require_plain(headers: Headers) -> None:
    """Refuse a compressed body: it would be taken for what it is not.

    Raises:
        Problem: it is one.
    """
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Problem(
            "unsupported_media_type",
            "A compressed body cannot be read.",
            hint="Send it without Content-Encoding.",
            headers=_CLOSE,
        )


class _Memory:
    """Bounds the bytes of all bodies together: they are held until their requests are answered."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Count bytes that have come.

        Raises:
            Problem: there are too many; the client may send its request again.
        """
        self._num_bytes += num_bytes
        if self._num_bytes > self._capacity:
            raise Problem(
                "queue_full",
                "The requests that are being read have too many bytes together.",
                hint="Try again in 1 s.",
                retry_after_s=1,
                headers=_CLOSE,
            )

    def give_back(self, num_bytes: int) -> None:
        """Count bytes no more."""
        self._num_bytes -= num_bytes


class _Body:
    """Passes a request's body on, bounded in bytes, in the time between its pieces and in all."""

    def __init__(
        self, receive: Receive, limit: int, timeout_s: float, memory: _Memory | None = None
    ) -> None:
        self.num_bytes = 0
        self._memory = memory
        self._receive = receive
        self._limit = limit
        self._timeout_s = timeout_s
        self._is_complete = False
        self._began = time.monotonic()

    def require_declared(self, headers: Headers) -> None:
        """Refuse a body whose length is said to be too much, before it is read.

        Raises:
            Problem: it is.
        """
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            Problem: too many bytes, none for too long, or too few for long.
        """
        if self._is_complete:
            return await self._receive()  # that the client leaves
        try:
            message = await asyncio.wait_for(self._receive(), self._timeout_s)
        except TimeoutError as error:
            raise _timeout(f"No byte came for {self._timeout_s:g} s.") from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        num_bytes = len(message.get("body", b""))
        self.num_bytes += num_bytes
        if self._memory:
            self._memory.take(num_bytes)
        if self.num_bytes > self._limit:
            raise self._too_large()
        self._is_complete = not message.get("more_body", False)
        taken_s = time.monotonic() - self._began
        if not self._is_complete and taken_s > self._timeout_s + self.num_bytes / _LEAST_RATE:
            raise _timeout(f"The body came more slowly than {_LEAST_RATE:g} bytes a second.")
        return message

    def close(self) -> None:
        """Count its bytes no more."""
        if self._memory:
            self._memory.give_back(self.num_bytes)

    def _too_large(self) -> Problem:
        return Problem(
            "too_large",
            f"The request has more than {self._limit:,} bytes.",
            hint="Send fewer or smaller photos; whole tables are jobs: POST /v1/jobs.",
            headers=_CLOSE,
        )


def _timeout(message: str) -> Problem:
    return Problem("timeout", message, "Send it again over a faster connection.", headers=_CLOSE)


class _Sending:
    """Passes an answer on, with the headers that every answer has."""

    def __init__(self, exchange: _Exchange, send: Send) -> None:
        self.has_begun = False
        self._exchange = exchange
        self._send = send

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        if message["type"] == "http.response.start":
            self.has_begun = True
            self._exchange.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._exchange.request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
        await self._send(message)
