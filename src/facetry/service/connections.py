"""Connections whose client sends its request and reads its answer in time; others are closed.

No client can hold one idly.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from facetry.service.config import Limits


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with limits on the time that requests' headers and the reading of answers may take.

    h11 bounds the headers' size. The body's time is bounded by the middleware, idle connections by
    uvicorn.
    """

    header_timeout_s = 10.0
    reading_timeout_s = 30.0
    max_connections = 2048

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request, or close one connection too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # to hear of whatever a client does not read
        if len(self.connections) > self.max_connections:
            transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take data, and wait for the rest of the headers if they are not complete."""
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(self.reading_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read all that was sent."""
        self._cancel_reading()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End waiting."""
        self._cancel()
        self._cancel_reading()
        super().connection_lost(exc)

    @property
    def _is_due(self) -> bool:
        """Whether headers are to come, or the rest of a body that was refused."""
        theirs = self.conn.their_state
        return theirs is h11.IDLE or (theirs is h11.SEND_BODY and self.conn.our_state is h11.DONE)

    def _watch(self) -> None:
        if not self._is_due:
            self._cancel()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.header_timeout_s, self._give_up)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_reading(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self._is_due and not self.transport.is_closing():
            self.transport.close()


def timed_protocol(limits: Limits) -> type[TimedProtocol]:
    """The protocol with limits of its own."""

    class Timed(TimedProtocol):
        header_timeout_s = limits.header_timeout_s
        reading_timeout_s = limits.body_timeout_s
        max_connections = limits.max_connections

    return Timed
