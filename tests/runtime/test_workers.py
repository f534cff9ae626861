"""Worker processes: results, cost and progress of jobs, how they fail, and that none is left behind."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facetry.errors import WorkerDied, WorkerFailed
from facetry.runtime.progress import SILENT
from facetry.runtime.workers import Asked, Died, Done, Event, Failed, WorkerPool, run_in_worker
from tests.runtime import workloads


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


def test_results_and_messages_come_back() -> None:
    log = Log()
    result, cost = run_in_worker(workloads.add, 2, 3, reporter=log)
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


def test_the_measured_memory_is_that_of_one_call() -> None:
    _, little = run_in_worker(workloads.hoard, 1, reporter=SILENT)
    _, much = run_in_worker(workloads.hoard, 200, reporter=SILENT)
    _, again = run_in_worker(workloads.hoard, 1, reporter=SILENT)
    assert 190 < much.memory_mib < 300
    assert max(little.memory_mib, again.memory_mib) < 60


def test_a_users_error_is_reported_without_a_traceback() -> None:
    log = Log()
    with pytest.raises(WorkerFailed, match="The table is empty") as caught:
        run_in_worker(workloads.mistake, reporter=log)
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
def test_a_bug_or_a_crash_is_reported(work: Callable[..., object], message: str, trace: str) -> None:
    with pytest.raises(WorkerFailed, match=message) as caught:
        run_in_worker(work, reporter=SILENT)
    assert trace in caught.value.trace
    assert isinstance(caught.value, WorkerDied) is not bool(trace)


def test_a_process_does_not_outlive_an_interruption() -> None:
    class Stop(Log):
        def say(self, text: str) -> None:
            super().say(text)
            raise KeyboardInterrupt

    log = Stop()
    with pytest.raises(KeyboardInterrupt):
        run_in_worker(workloads.linger, reporter=log)
    assert not Path(f"/proc/{log.lines[0]}").exists()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(workloads.act, num_workers=2, num_threads=1) as pool:
        yield pool


def next_events(pool: WorkerPool, count: int) -> dict[object, Event]:
    found: dict[object, Event] = {}
    while len(found) < count:
        found |= dict(pool.events())
    return found


def test_one_jobs_failure_or_crash_does_not_affect_the_others(pool: WorkerPool) -> None:
    found: dict[object, Event] = {}
    for pair in (("return", "mistake"), ("bug", "die"), ("first", "second")):
        for what in pair:
            assert not pool.is_full
            pool.start(what, what)
        assert pool.is_full
        found |= next_events(pool, 2)
    results = {name: event.result for name, event in found.items() if isinstance(event, Done)}
    assert results == {"return": "return", "first": "first", "second": "second"}
    assert found["mistake"] == Failed(message="The table is empty.", hint="Fill it.")
    assert isinstance(bug := found["bug"], Failed)
    assert (bug.message, "workloads.py" in bug.trace) == ("ZeroDivisionError: by nothing", True)
    assert found["die"] == Died(reason="Killed by the system; most often it has run out of memory.")


def test_a_job_waits_for_an_answer_and_its_process_takes_the_next_job(pool: WorkerPool) -> None:
    pool.start("asks", "ask")
    for number in (1, 2):
        assert next_events(pool, 1) == {"asks": Asked(question=number)}
        pool.answer("asks", number == 2)
    assert isinstance(next_events(pool, 1)["asks"], Done)
    pool.start("next", "return")
    assert isinstance(next_events(pool, 1)["next"], Done)
    assert len(pool.workers) == 1


def test_fresh_processes_take_one_job_each() -> None:
    with WorkerPool(workloads.act, is_fresh=True) as pool:
        for _ in range(2):
            pool.start(0, "return")
            assert isinstance(next_events(pool, 1)[0], Done)
            assert not pool.workers


def test_leaving_the_pool_ends_its_processes() -> None:
    with WorkerPool(workloads.act, num_workers=2) as pool:
        pool.start("waits", "pause")  # for ever
        pool.start("returns", "return")
        next_events(pool, 1)
        processes = [each.process for each in pool.workers]
        started = time.perf_counter()
    assert time.perf_counter() - started < 10
    assert not any(each.is_alive() for each in processes)


def test_ctrl_c_does_not_reach_a_job(pool: WorkerPool) -> None:
    pool.start("asks", "ask")
    next_events(pool, 1)
    (worker,) = pool.workers
    assert worker.process.pid
    os.kill(worker.process.pid, signal.SIGINT)
    pool.answer("asks", True)
    assert isinstance(next_events(pool, 1)["asks"], Done)


def test_processes_end_with_their_caller(pool: WorkerPool) -> None:
    pool.start("waits", "pause")
    (worker,) = pool.workers
    worker.lifeline.close()  # as the system does when a process dies
    worker.process.join(10)
    assert not worker.process.is_alive()


def test_an_idle_process_that_died_is_replaced(pool: WorkerPool) -> None:
    pool.start("first", "return")
    next_events(pool, 1)
    (worker,) = pool.workers
    assert worker.process.pid
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    pool.start("second", "return")
    assert isinstance(next_events(pool, 1)["second"], Died)
    pool.start("second", "return")
    assert isinstance(next_events(pool, 1)["second"], Done)
