"""Connections that bring their request's headers in time, or are closed: no client can hold one idly."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from facetry.service.config import Limits


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with a limit on the time that a request's line and headers may take.

    h11 bounds their size. The body's time is bounded by the middleware, idle connections by uvicorn.
    """

    header_timeout_s = 10.0
    max_connections = 2048

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request, or close one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take data, and wait for the rest of the headers if they are not complete."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End waiting."""
        self._cancel()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._cancel()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.header_timeout_s, self._give_up)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def timed_protocol(limits: Limits) -> type[TimedProtocol]:
    """The protocol with limits of its own."""

    class Timed(TimedProtocol):
        header_timeout_s = limits.header_timeout_s
        max_connections = limits.max_connections

    return Timed
