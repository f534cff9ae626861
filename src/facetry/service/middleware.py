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

_CLOSE: Final = {"Connection": "close"}  # the rest of the body is not read

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


class Envelope:
    """The outermost part of the application."""

    def __init__(self, app: ASGIApp, *, access: Access, limits: Limits, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._metrics = metrics

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
        body = _Body(receive, self._limit(scope["path"]), self._limits.body_timeout_s)
        try:
            await self._answer(exchange, headers, body, send)
        except ClientGone:
            exchange.status, exchange.reason = 499, "client_gone"
        finally:
            self._record(exchange, body.num_bytes)

    async def _answer(self, exchange: _Exchange, headers: Headers, body: "_Body", send: Send) -> None:
        """Run the application, or refuse the request; errors become answers."""
        scope = exchange.scope
        sending = _Sending(exchange, send)
        try:
            if refusal := self._access.refusal(headers):
                raise refusal
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

    def _limit(self, path: str) -> int:
        is_job = path.rstrip("/") == "/v1/jobs"
        return self._limits.max_job_bytes if is_job else self._limits.max_request_bytes

    def _record(self, exchange: _Exchange, num_bytes: int) -> None:
        scope = exchange.scope
        seconds = time.monotonic() - exchange.started
        state: Mapping[str, Any] = scope["state"]
        reason = exchange.reason or state.get("reason")
        self._metrics.count_request(scope["method"], exchange.route, exchange.status, seconds)
        if reason:
            self._metrics.count_error(reason)
        log(
            "request",
            request_id=exchange.request_id,
            method=scope["method"],
            route=exchange.route,
            status=exchange.status,
            seconds=round(seconds, 4),
            reason=reason,
            key=state.get("key"),
            num_photos=state.get("num_photos"),
            num_bytes=num_bytes,
        )


class _Body:
    """Passes a request's body on, bounded in bytes and in the time between its pieces."""

    def __init__(self, receive: Receive, limit: int, timeout_s: float) -> None:
        self.num_bytes = 0
        self._receive = receive
        self._limit = limit
        self._timeout_s = timeout_s
        self._is_complete = False

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
            Problem: too many bytes, or none for too long.
        """
        if self._is_complete:
            return await self._receive()  # that the client leaves
        try:
            message = await asyncio.wait_for(self._receive(), self._timeout_s)
        except TimeoutError as error:
            problem = Problem("timeout", f"No byte came for {self._timeout_s:g} s.", headers=_CLOSE)
            raise problem from error
        if message["type"] == "http.disconnect":
            raise ClientGone
        self.num_bytes += len(message.get("body", b""))
        if self.num_bytes > self._limit:
            raise self._too_large()
        self._is_complete = not message.get("more_body", False)
        return message

    def _too_large(self) -> Problem:
        return Problem(
            "too_large",
            f"The request has more than {self._limit:,} bytes.",
            hint="Send fewer or smaller photos; whole tables are jobs: POST /v1/jobs.",
            headers=_CLOSE,
        )


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
