"""Tasks are done once each, whatever becomes of the workers."""

from collections.abc import Iterator

import pytest

from facetry.batch.ray.messages import Died, Failure, GivenBack, Report, Versions
from facetry.batch.ray.pool import Pool
from facetry.errors import (
    CatalogueError,
    ClusterError,
    FacetryError,
    WorkerDied,
    WorkerFailed,
    WriteFailed,
)
from tests.batch.ray.fakes import InProcess, Item, Rule, Tens, dies, joins
from tests.batch.workloads import Lines

ALL = [(number, 10 * number) for number in range(12)]


def map_tens(
    cluster: InProcess, *, num_workers: int = 3, num_items: int = 12, lines: Lines | None = None
) -> list[tuple[int, int]]:
    lines = lines or Lines()
    pool = Pool(cluster, num_workers, lines)
    pool.join()
    items = map(Item, range(num_items))
    return sorted(pool.run(items, lines.advance, lambda item: -item.number))


def test_every_task_is_done_once_by_all_workers() -> None:
    cluster, lines = InProcess(Tens()), Lines()
    assert map_tens(cluster, lines=lines) == ALL
    assert {worker for worker, _ in cluster.begun} == {0, 1, 2}
    assert (len(cluster.begun), cluster.num_started, lines.num_rows) == (12, 3, 120)
    (first,) = [line for line in lines.said if "opened" in line]  # the others say the same
    assert first.startswith("The worker ")
    assert any(line.endswith(": seven") for line in lines.said)


def test_no_more_workers_than_tasks() -> None:
    cluster = InProcess(Tens())
    assert map_tens(cluster, num_workers=9, num_items=2) == ALL[:2]
    assert cluster.num_started == 2


def test_nothing_to_do() -> None:
    assert map_tens(InProcess(Tens()), num_items=0) == []


def test_tasks_are_read_as_they_are_needed() -> None:
    cluster, num_read = InProcess(Tens()), 0

    def items() -> Iterator[Item]:
        nonlocal num_read
        for number in range(100):
            num_read += 1
            yield Item(number)

    pool = Pool(cluster, 2, Lines())
    pool.join()
    for num_done, _ in enumerate(pool.run(items(), lambda _: None, lambda item: item), start=1):
        assert num_read <= num_done + 2 + 4 + 1  # in work; ready; done, but not yielded yet
        assert cluster.most_at_work <= 2


@pytest.mark.parametrize("times", [1, 2])
def test_a_task_whose_worker_died_is_given_to_another(times: int) -> None:
    cluster, lines = InProcess(Tens(), dies(4, times=times)), Lines()
    assert map_tens(cluster, lines=lines) == ALL
    assert len({worker for worker, number in cluster.begun if number == 4}) == times + 1
    assert sum("died on part 4: it was told to" in line for line in lines.said) == times
    assert lines.num_rows == 120


def test_a_task_that_three_workers_died_on_is_quarantined() -> None:
    cluster, lines = InProcess(Tens(), dies(4)), Lines()
    assert map_tens(cluster, lines=lines) == sorted([*ALL[:4], *ALL[5:], (4, -4)])
    assert [number for _, number in cluster.begun].count(4) == 3
    assert "10 rows are marked as failed" in lines.said[-1] + lines.said[-2]
    assert lines.num_rows == 120


def test_quarantined_tasks_come_last() -> None:
    pool = Pool(InProcess(Tens(), dies(0)), 1, Lines())
    pool.join()
    done = list(pool.run(map(Item, range(3)), lambda _: None, lambda item: -item.number))
    assert done == [(1, 10), (2, 20), (0, 0)]


def test_workers_that_die_on_everything_end_the_run() -> None:
    with pytest.raises(WorkerDied, match="died on each of 3 parts"):
        map_tens(InProcess(Tens(), dies(*range(12))))


def test_a_machine_taken_away_is_no_try() -> None:
    cluster = InProcess(Tens(), dies(4, times=5, was_preempted=True))
    assert map_tens(cluster) == ALL


def test_a_task_given_back_is_no_try() -> None:
    left = 5

    def rule(_: int, item: Item | None) -> Report | None:
        nonlocal left
        if item is None or item.number != 2 or not left:
            return None
        left -= 1
        return Report(num_rows=6, lines=(), outcome=GivenBack())

    cluster, lines = InProcess(Tens(), rule), Lines()
    assert map_tens(cluster, lines=lines) == ALL
    assert lines.num_rows == 120  # rows done twice are shown once
    assert sum("another one gets part 2" in line for line in lines.said) == 5


@pytest.mark.parametrize("error", [ClusterError, MemoryError])
def test_errors_that_concern_all_tasks_end_the_run(error: type[Exception]) -> None:
    with pytest.raises(error, match="three"):
        map_tens(InProcess(Tens(error=error)))


def test_errors_of_the_cluster_itself_end_the_run() -> None:
    full = Failure(kind=WriteFailed, message="no space left")
    cluster = InProcess(Tens(), lambda _, item: full if item and item.number == 3 else None)
    with pytest.raises(WriteFailed, match="no space left"):
        map_tens(cluster)


def test_what_is_done_at_the_same_time_as_an_error_is_kept() -> None:
    pool = Pool(InProcess(Tens(error=ClusterError)), 4, Lines())
    pool.join(4)
    done: list[tuple[int, int]] = []
    with pytest.raises(ClusterError):
        done.extend(pool.run(map(Item, range(12)), lambda _: None, lambda item: item))
    assert done == ALL[:3]


def test_other_errors_come_with_their_trace() -> None:
    with pytest.raises(WorkerFailed, match="KeyError: 'three'") as caught:
        map_tens(InProcess(Tens(error=KeyError)))
    assert "raise self.error" in caught.value.trace


def test_a_job_that_cannot_be_opened() -> None:
    cluster = InProcess(Tens(error=FacetryError))
    with pytest.raises(FacetryError, match=r"no such model \(on the worker"):
        map_tens(cluster)
    assert not cluster.workers


def test_another_version_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"the driver has Facetry 9\.9 on Python 3\.9"):
        map_tens(InProcess(Tens(), versions=Versions(facetry="9.9", python="3.9")))


def test_workers_that_die_while_they_load() -> None:
    def rule(_: int, item: Item | None) -> Died | None:
        return None if item else Died(reason="no memory")

    cluster = InProcess(Tens(), rule)
    with pytest.raises(WorkerDied, match="die while they load: no memory"):
        map_tens(cluster)
    assert cluster.num_started == 3


def refuse_second(reply: Failure | object) -> Rule:
    return lambda worker, item: reply if worker == 1 and item is None else None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Failure(kind=ClusterError, message="other version"), "other version"),
        (joins(fingerprint="two"), "The worker w would give other answers than the first one."),
    ],
)
def test_a_later_worker_that_is_refused_is_done_without(reply: object, said: str) -> None:
    cluster, lines = InProcess(Tens(), refuse_second(reply)), Lines()
    assert map_tens(cluster, lines=lines) == ALL
    assert f"Going on with 2 workers. {said}" in "\n".join(lines.said)
    assert 1 not in {worker for worker, _ in cluster.begun}


def test_no_worker_is_left() -> None:
    def rule(worker: int, item: Item | None) -> Died | Failure | None:
        if worker == 0:
            return Died(reason="gone") if item else None
        return Failure(kind=ClusterError, message="other version")

    with pytest.raises(ClusterError, match="other version"):
        map_tens(InProcess(Tens(), rule), num_workers=1)


def test_a_table_that_cannot_be_read_further_down() -> None:
    def items() -> Iterator[Item]:
        yield from map(Item, range(6))
        raise CatalogueError("row 7 cannot be read")

    cluster = InProcess(Tens())
    pool = Pool(cluster, 2, Lines())
    pool.join()
    done = []
    with pytest.raises(CatalogueError, match="row 7"):
        done.extend(pool.run(items(), lambda _: None, lambda item: item))
    assert not pool._busy


def test_a_run_that_is_stopped_ends_the_workers_at_work() -> None:
    cluster = InProcess(Tens())
    pool = Pool(cluster, 2, Lines())
    pool.join()
    done = pool.run(map(Item, range(12)), lambda _: None, lambda item: item)
    next(done)
    done.close()
    assert not pool._busy
    pool.close()
    assert not cluster.workers


def test_an_idle_worker_is_used_again_by_the_next_run() -> None:
    cluster = InProcess(Tens())
    pool = Pool(cluster, 1, Lines())
    pool.join()
    for _ in range(2):
        assert len(list(pool.run([Item(1)], lambda _: None, lambda item: item))) == 1
    assert cluster.num_started == 1
