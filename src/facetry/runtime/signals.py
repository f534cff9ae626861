"""SIGTERM, which schedulers and cloud machines send first, stops long work after its current step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Stopped(KeyboardInterrupt):
    """SIGTERM has stopped the work; what was done is saved.

    It subclasses KeyboardInterrupt so that `except Exception` does not swallow it.
    """


@dataclass
class Stop:
    """Whether the work is to stop after its current step."""

    is_requested: bool = False

    def request(self, _signal: int, _frame: FrameType | None) -> None:
        """Handle the signal."""
        self.is_requested = True


@contextmanager
def stop_on_sigterm(*, is_on: bool = True) -> Iterator[Stop]:
    """While the context lasts, SIGTERM sets `Stop.is_requested` instead of ending the process.

    Nothing changes if `is_on` is False, or in a thread other than the main one, which alone can handle
    signals.
    """
    stop = Stop()
    if not is_on or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.request)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
