"""Work that is done again and again in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from facetry.errors import DatabaseUnavailable
from facetry.service.logs import log


class Periodic:
    """A thread that does some work at once, then at intervals; what fails is logged and tried again."""

    def __init__(self, name: str, work: Callable[[], object], interval_s: float) -> None:
        self._name = name
        self._work = work
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether its thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"facetry-{self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once it has finished what it is at."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self._interval_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except (DatabaseUnavailable, OSError) as error:
                log(f"{self._name}_failed", level=logging.WARNING, error=error)
            except Exception as error:  # noqa: BLE001  # a thread's boundary: logged, tried again
                log(f"{self._name}_failed", level=logging.ERROR, error=error)
            self._stopping.wait(self._interval_s)
