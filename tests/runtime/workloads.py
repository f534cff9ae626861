"""What tests have done in a process of its own."""

import os
import signal

from facetry.errors import CatalogueError
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.workers import JobReporter


def add(first: int, second: int, *, reporter: Reporter) -> int:
    reporter.say("adding")
    with reporter.bar("Adding", 2) as advance:
        advance(1)
        with reporter.bar("Carrying", None) as inner:
            inner(3)
        advance(1)
    return first + second


def hoard(num_mib: int, *, reporter: Reporter) -> int:  # noqa: ARG001
    return len(bytearray(b"1") * (num_mib << 20))


def mistake(*, reporter: Reporter) -> None:
    with reporter.bar("Working", 1):
        raise CatalogueError("The table is empty.", hint="Fill it.")


def bug(*, reporter: Reporter) -> None:  # noqa: ARG001
    raise ZeroDivisionError("by nothing")


def die(*, reporter: Reporter) -> None:  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def leave(*, reporter: Reporter) -> None:  # noqa: ARG001
    os._exit(3)


def linger(*, reporter: Reporter) -> None:
    reporter.say(str(os.getpid()))
    signal.pause()


def act(what: str, *, reporter: JobReporter) -> str:
    """Do what is named; return the name."""
    if what == "mistake":
        mistake(reporter=SILENT)
    if what == "bug":
        bug(reporter=reporter)
    if what == "die":
        die(reporter=reporter)
    if what == "pause":
        signal.pause()
    if what == "ask":
        number = 1
        while not reporter.ask(number):
            number += 1
    return what
