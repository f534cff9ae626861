"""`facetry serve` in a process of its own, as it is run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.service.serving import wait_until


@dataclass
class Process:
    """A server's process, its address, and the file that its standard error goes to."""

    own: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def stop(self, kind: signal.Signals = signal.SIGTERM, timeout_s: float = 30) -> int:
        """Send it a signal and wait for its exit code."""
        self.own.send_signal(kind)
        return self.own.wait(timeout_s)


@contextmanager
def served(folder: Path, *words: str) -> Iterator[Process]:
    """A server on a free port of loopback, ready; `folder` gets its data and its log."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"log-{len(list(folder.glob('log-*')))}"
    command = [sys.executable, "-m", "facetry", "serve", *words, "--port", "0", "--data", str(folder)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, "COLUMNS": "200"})
    try:
        wait_until(lambda: _address(log) is not None or process.poll() is not None, 60)
        address = _address(log)
        assert address is not None, log.read_text()
        yield Process(process, address, log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def _address(log: Path) -> str | None:
    found = re.search(r"on (http://\S+)", log.read_text())
    return found[1] if found else None


def is_up(url: str) -> bool:
    """Whether a server is ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
