"""`facetry review` in a process of its own, as it is run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def review_of(*words: str) -> Iterator[str]:
    """The address of the first decision, as the command says it; the command is stopped at the end."""
    command = [sys.executable, "-m", "facetry", "review", *words, "--no-browser", "--port", "0"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, **both, text=True, env={**os.environ, "COLUMNS": "200"})
    assert process.stdout is not None
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "The first decision waits on" in line:
                break
        else:
            raise AssertionError("".join(lines))
        yield lines[-1].split()[-1]
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
