"""SIGTERM asks long work to stop: a machine that is to be given back, a queue whose time is up."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class Stopped(KeyboardInterrupt):
    """SIGTERM has stopped the work, and what was done is saved.

    It subclasses KeyboardInterrupt so that `except Exception` does not swallow it.
    """


@dataclass
class Stop:
    """Whether the work is to stop after the step at hand."""

    is_asked: bool = False

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """A signal's handler."""
        self.is_asked = True


@contextmanager
def heeding_sigterm(*, is_on: bool = True) -> Iterator[Stop]:
    """While the context lasts, if it is on, SIGTERM does not end the process but asks it to stop.

    Only the main thread can have it so; in any other nothing is ever asked.
    """
    stop = Stop()
    if not is_on or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop.ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
