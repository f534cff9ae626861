"""Work in a process of its own: its result, its cost, what it says, how it fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facetry.compare.apart import WorkFailed, run_apart
from facetry.progress import SILENT
from tests.compare import workloads


class Log:
    """A reporter that keeps everything."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        self.lines.append(f"{description} {total}")
        yield lambda count: self.lines.append(f"{description} +{count}")
        self.lines.append(f"{description} ends")


def test_the_result_and_what_is_said() -> None:
    log = Log()
    result, cost = run_apart(workloads.add, 2, 3, reporter=log)
    assert result == 5
    assert 0 < cost.seconds < 5
    assert log.lines == [
        "adding",
        "Adding 2",
        "Adding +1",
        "Carrying None",
        "Carrying +3",
        "Carrying ends",
        "Adding +1",
        "Adding ends",
    ]


def test_memory_is_the_works_own() -> None:
    _, little = run_apart(workloads.hoard, 1, reporter=SILENT)
    _, much = run_apart(workloads.hoard, 300, reporter=SILENT)
    _, again = run_apart(workloads.hoard, 1, reporter=SILENT)
    assert 290 < much.memory_mib < 400
    assert max(little.memory_mib, again.memory_mib) < 60


def test_a_mistake_is_told_without_a_trace() -> None:
    log = Log()
    with pytest.raises(WorkFailed, match="The table is empty") as caught:
        run_apart(workloads.mistake, reporter=log)
    assert (caught.value.hint, caught.value.trace) == ("Fill it.", "")
    assert log.lines == ["Working 1", "Working ends"]


@pytest.mark.parametrize(
    ("work", "message", "trace"),
    [
        (workloads.bug, "ZeroDivisionError: by nothing", "in bug"),
        (workloads.die, "run out of memory", ""),
        (workloads.leave, "ended with code 3", ""),
    ],
)
def test_a_bug_or_a_death(work: Callable[..., object], message: str, trace: str) -> None:
    with pytest.raises(WorkFailed, match=message) as caught:
        run_apart(work, reporter=SILENT)
    assert trace in caught.value.trace


def test_a_process_does_not_outlive_an_interruption() -> None:
    class Stop(Log):
        def say(self, text: str) -> None:
            super().say(text)
            raise KeyboardInterrupt

    log = Stop()
    with pytest.raises(KeyboardInterrupt):
        run_apart(workloads.linger, reporter=log)
    assert not Path(f"/proc/{log.lines[0]}").exists()
