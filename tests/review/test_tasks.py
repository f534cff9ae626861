"""Long work runs beside the pages, once of a name, and says how far it is and why it failed."""

import threading
from collections.abc import Iterator

import pytest

from facetry.errors import SettingError
from facetry.review.tasks import Tasks
from facetry.runtime.progress import Reporter
from tests.service.serving import wait_until


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    found = Tasks()
    yield found
    found.close()


def wait_for(tasks: Tasks, name: str) -> None:
    wait_until(lambda: not tasks.get(name).is_running, 5)


def test_work_says_how_far_it_is(tasks: Tasks) -> None:
    half, go = threading.Event(), threading.Event()

    def work(reporter: Reporter) -> None:
        with reporter.bar("Counting", 4) as advance:
            advance(2)
            half.set()
            assert go.wait(5)
            advance(2)

    task = tasks.start("count", work)
    assert half.wait(5)
    assert (task.step, task.num_done, task.total, task.is_running) == ("Counting", 2, 4, True)
    assert tasks.start("count", work) is task
    seen = tasks.get("count")
    go.set()
    wait_for(tasks, "count")
    assert (seen.is_running, seen.num_done) == (True, 2), "what a page was told does not change"
    assert (task.num_done, task.error) == (4, "")
    assert tasks.get("other") is None


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (SettingError("No such file.", hint="Name another."), "No such file. Name another."),
        (ValueError("x"), "It failed unexpectedly. The service's log says more."),
    ],
)
def test_work_that_fails_says_why_and_may_begin_again(
    tasks: Tasks, error: Exception, shown: str
) -> None:
    def fail(_: Reporter) -> None:
        raise error

    tasks.start("work", fail)
    wait_for(tasks, "work")
    assert tasks.get("work").error == shown
    tasks.start("work", lambda _: None)
    wait_for(tasks, "work")
    assert tasks.get("work").error == ""


def test_closing_stops_work_at_its_next_item() -> None:
    tasks, began, go = Tasks(), threading.Event(), threading.Event()

    def work(reporter: Reporter) -> None:
        with reporter.bar("Endless", None) as advance:
            while True:
                began.set()
                go.wait(0.01)
                advance(1)

    task = tasks.start("endless", work)
    assert began.wait(5)
    tasks.close()
    assert not task.is_running
    assert task.error.startswith("Stopped")
