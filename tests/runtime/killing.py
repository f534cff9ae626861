"""Work in a process of its own that is killed between two of its file operations."""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

_OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link"}
_IMPORTED_ONCE = ["pytest", "facetry.build.train", "facetry.training.train", "facetry.audit.steps"]
_NUM_KILLS = 10


def killed(folder: Path, number: int, work: Callable[..., object], *arguments: object) -> bool:
    """Call `work(*arguments)` and kill it before its file operation `number`, from 1, below `folder`.

    Returns whether there were so many: if not, the work is done. The process is a plain fork, so the
    work may do nothing but write files: libraries with threads of their own do not survive that.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads; the child needs none
        process = os.fork()
    if not process:
        code = 1
        try:
            _work(folder, number, work, arguments)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in {0, -signal.SIGKILL}
    return code != 0


def kill_at_random(folder: Path, most: int, work: Callable[..., object], *arguments: object) -> int:
    """Begin `work(*arguments)` ten times, and kill it each time before one of its next file operations.

    `most` is how many of them below `folder` it may do. Returns how often it was killed: it may be done
    before.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    draw = Random(most)
    for num_kills in range(_NUM_KILLS):
        number = draw.randint(1, most)
        process = context.Process(target=_work, args=(folder, number, work, arguments))
        process.start()
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        if not process.exitcode:
            return num_kills
    return _NUM_KILLS


def _work(folder: Path, number: int, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    num_done = 0

    def count(event: str, facts: tuple[object, ...]) -> None:
        nonlocal num_done
        if event in _OPERATIONS and _is_below(facts[0], folder):
            num_done += 1
            if num_done == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    work(*arguments)


def _is_below(path: object, folder: Path) -> bool:
    """Whether a path, relative only where a whole folder is removed, is in `folder`."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    name = Path(os.fsdecode(path))
    return not name.is_absolute() or name.is_relative_to(folder)
