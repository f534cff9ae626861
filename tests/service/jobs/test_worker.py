"""Jobs are worked off to the end, whatever comes between: nothing is lost, nothing is done twice."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from facetry.batch.fill import run as fill_run
from facetry.batch.fill.record import fill_folder
from facetry.errors import CatalogueError, DatabaseUnavailable, WriteFailed
from facetry.runtime.resumable import lock
from facetry.service.jobs import worker
from facetry.service.jobs.store import Job
from facetry.service.jobs.worker import Timing
from facetry.service.tables import JOBS
from tests.service.jobs.shop import Shop, Sure, filled, photos, table


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "data")
    yield made
    made.database.close()
    assert made.deaths == []


def send(shop: Shop, num_products: int = 8) -> Job:
    return shop.send(table(num_products), photos(num_products))


def waits(job: Job) -> bool:
    return job.state == "waiting" and job.error is not None


def test_job_is_done(shop: Shop) -> None:
    job = shop.work(send(shop))
    assert job.state == "done", job.error
    assert shop.result(job) == filled()
    assert job.summary is not None
    assert job.summary["columns"][0] | {"mean_confidence": None} == {
        "column": "colour",
        "num_filled": 4,
        "num_review": 0,
        "num_abstain": 0,
        "num_not_predicted": 0,
        "mean_confidence": None,
    }
    assert (job.num_products, job.num_done, job.summary["num_predicted"]) == (4, 4, 4)
    assert job.summary["problems"] == {}


def test_unreadable_photos_are_counted_and_never_guessed(shop: Shop) -> None:
    job = shop.work(shop.send(table(), photos(3)))
    assert job.summary is not None
    assert job.summary["problems"] == {"file not found": 2}
    assert shop.result(job).splitlines()[5] == "p4,Tees,,"


def test_many_jobs_and_workers_do_each_once(tmp_path: Path) -> None:
    predictor = Sure()
    shops = [Shop(tmp_path / "data", predictor) for _ in range(2)]  # two servers on one database
    jobs = [send(shops[0], 4) for _ in range(5)]
    workers = [each.workers() for each in shops]
    for each in workers:
        each.start()
    try:
        ended = [shops[1].wait(job) for job in jobs]
    finally:
        for each in workers:
            each.stop(20)
    for shop in shops:
        shop.database.close()
    assert [job.state for job in ended] == ["done"] * 5
    assert {shops[0].result(job) for job in jobs} == {filled(4)}
    assert sorted(map(str, predictor.asked)) == ["p0"] * 5 + ["p2"] * 5


class Gate:
    """Lets a predictor go on when it is told to; says when the predictor waits."""

    def __init__(self) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.is_reached.set()
        assert self.is_open.wait(20)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.is_open.set()


def test_running_job_is_cancelled(shop: Shop, gate: Gate) -> None:
    shop.predictor.before = gate
    job = send(shop)
    workers = shop.workers(Timing(poll_s=0.01, lease_s=0.3))
    workers.start()
    try:
        assert gate.is_reached.wait(20)
        assert shop.jobs.request_cancel(job.id).state == "running"
        threading.Event().wait(0.15)  # a heartbeat
        gate.is_open.set()
        assert shop.wait(job).state == "cancelled"
    finally:
        gate.is_open.set()
        workers.stop(20)
    assert not (shop.folder(job) / "filled.csv").exists()


def test_job_deleted_while_it_runs_leaves_nothing(shop: Shop, gate: Gate) -> None:
    shop.predictor.before = gate
    job = send(shop)
    workers = shop.workers(Timing(poll_s=0.01, lease_s=0.3))
    workers.start()
    try:
        assert gate.is_reached.wait(20)
        shop.jobs.delete(job.id)
        worker.remove_folder(shop.folder(job))
        (shop.folder(job) / "filled.csv.fill").mkdir(parents=True)  # as a writer may make it anew
        threading.Event().wait(0.15)
        gate.is_open.set()
    finally:
        gate.is_open.set()
        workers.stop(20)
    assert list((shop.data / "jobs").iterdir()) == []
    assert shop.jobs.for_owner(None) == []


def test_stopped_service_gives_its_job_back(shop: Shop, gate: Gate) -> None:
    shop.predictor.before = gate
    job = send(shop)
    workers = shop.workers()
    workers.start()
    assert gate.is_reached.wait(20)
    stopping = threading.Thread(target=workers.stop, args=(20,))
    stopping.start()
    threading.Event().wait(0.05)
    gate.is_open.set()
    stopping.join(20)
    found = shop.jobs.get(job.id)
    assert (found.state, found.attempts) == ("waiting", 0)
    assert shop.work(job).state == "done"
    assert shop.result(job) == filled()


def test_worker_that_lost_its_lease_writes_nothing(shop: Shop, gate: Gate) -> None:
    """As after a clock that jumped: another worker has the job now."""
    shop.predictor.before = gate
    job = send(shop)
    workers = shop.workers(Timing(poll_s=0.01, lease_s=0.3))
    workers.start()
    try:
        assert gate.is_reached.wait(20)
        with shop.database.transaction() as connection:
            connection.execute(update(JOBS).values(fence=JOBS.c.fence + 1, lease_until=9e9))
        threading.Event().wait(0.15)
        gate.is_open.set()
    finally:
        gate.is_open.set()
        workers.stop(20)
    found = shop.jobs.get(job.id)
    assert (found.state, found.num_done, found.summary) == ("running", 0, None)


def test_folder_that_another_process_writes_is_waited_for(shop: Shop) -> None:
    job = send(shop)
    workers = shop.workers()
    with lock(fill_folder(shop.folder(job) / "filled.csv")):
        workers.start()
        try:
            shop.wait(job, lambda job: job.started_at is not None and job.state == "waiting")
        finally:
            workers.stop(20)
    job = shop.work(job)
    assert (job.state, job.attempts) == ("done", 1)


def test_model_that_was_replaced_begins_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = send(shop)
    real = fill_run._Work.write

    def broken(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(fill_run._Work, "write", broken)
    shop.work(job, waits)
    monkeypatch.setattr(fill_run._Work, "write", real)
    shop.models.fingerprint = "two"
    assert shop.work(job).state == "done"
    assert shop.result(job) == filled()


FULL = (OSError(errno.ENOSPC, "full"), WriteFailed("The disk of /srv/data is full."))


@pytest.mark.parametrize("error", FULL)
def test_full_disk_is_waited_for(shop: Shop, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    job = send(shop)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "fill_table", _raising(error))
        waiting = shop.work(job, waits)
    assert waiting.error is not None
    assert waiting.error["reason"] == "storage_full"
    assert "/srv" not in str(waiting.error)
    assert shop.work(job).state == "done"


def _raising(error: Exception) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_failure_is_told_without_paths(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = send(shop)
    error = CatalogueError(f"{shop.folder(job)}/table.csv is odd.", hint=f"See {shop.folder(job)}.")
    monkeypatch.setattr(worker, "fill_table", _raising(error))
    ended = shop.work(job)
    assert ended.state == "failed"
    assert ended.error == {"reason": "invalid", "message": "table.csv is odd.", "hint": f"See {job.id}."}


def test_unexpected_error_is_told_without_its_text(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = send(shop)
    monkeypatch.setattr(worker, "fill_table", _raising(RuntimeError("secret product")))
    ended = shop.work(job)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["reason"] == "internal"
    assert "secret" not in str(ended.error)
    assert "job_failed" in {record.getMessage() for record in caplog.records}


def test_engine_that_raises_marks_its_products(shop: Shop) -> None:
    def fail() -> None:
        raise RuntimeError("no engine")

    shop.predictor.before = fail
    job = shop.work(send(shop))
    assert job.state == "done"
    assert job.summary is not None
    assert sum(job.summary["problems"].values()) == 4
    assert shop.result(job) == table().decode()


def test_model_that_is_gone_fails_the_job(shop: Shop) -> None:
    job = send(shop)
    shop.models.name = "another"
    assert shop.work(job).error is not None


def test_database_that_is_gone_and_back_is_waited_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = send(shop)
    is_back = threading.Event()
    real = shop.jobs.claim

    def claim(name: str, duration_s: float) -> object:
        if not is_back.is_set():
            raise DatabaseUnavailable("gone")
        return real(name, duration_s)

    monkeypatch.setattr(shop.jobs, "claim", claim)
    workers = shop.workers()
    workers.start()
    try:
        threading.Event().wait(0.05)
        is_back.set()
        assert shop.wait(job).state == "done"
    finally:
        workers.stop(20)


def test_worker_thread_that_dies_is_started_again_and_counted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = send(shop)
    real, deaths = shop.jobs.claim, []

    def claim(name: str, duration_s: float) -> object:
        if not deaths:
            deaths.append(1)
            raise SystemExit
        return real(name, duration_s)

    monkeypatch.setattr(shop.jobs, "claim", claim)
    assert shop.work(job).state == "done"
    assert [kind for kind, _ in shop.deaths] == ["job"]
    shop.deaths.clear()
