"""Jobs in the database: each is done by one worker, and by another one only if that is gone."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from facetry.service.database import Database
from facetry.service.jobs.store import MOST_ATTEMPTS, JobOptions, JobStore, Lease, NewJob
from facetry.service.problems import Problem
from facetry.service.tables import JOBS

DAY_S = 86400.0


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    found = Database.open(database_url)
    yield found
    found.close()


@pytest.fixture
def store(database: Database, clock: Time) -> JobStore:
    return JobStore(database, clock, max_open_jobs=3, keep_days=2)


def add(store: JobStore, name: str = "a", owner: str = "me") -> str:
    options = JobOptions(suffix=".csv", only=("colour",), precision=0.9)
    return store.create(NewJob(id=name, owner=owner, model="shop", options=options)).id


def take(store: JobStore, worker: str = "one", duration_s: float = 30.0) -> Lease:
    lease = store.claim(worker, duration_s)
    assert lease is not None
    return lease


def test_new_job_waits(store: JobStore, clock: Time) -> None:
    job = store.get(add(store))
    assert (job.state, job.num_done, job.num_products, job.attempts) == ("waiting", 0, None, 0)
    assert job.options == JobOptions(suffix=".csv", only=("colour",), precision=0.9)
    assert (job.created_at, job.started_at, job.expires_at) == (clock.now, None, None)


def test_job_runs_to_its_end(store: JobStore, clock: Time) -> None:
    add(store)
    lease = take(store)
    assert store.beat(lease, 5, num_products=20)
    assert store.beat(
        lease, 12, num_products=8
    )  # the first number holds: later ones are of what is left
    job = store.get("a")
    assert (job.state, job.num_done, job.num_products) == ("running", 12, 20)
    clock.now += 60
    assert store.finish(lease, {"num_filled": 7})
    job = store.get("a")
    assert (job.state, job.num_done, job.summary) == ("done", 20, {"num_filled": 7})
    assert (job.ended_at, job.expires_at) == (clock.now, clock.now + 2 * DAY_S)
    assert store.claim("two", 30) is None


def test_jobs_are_taken_in_order_and_once(store: JobStore, clock: Time) -> None:
    for name in ("b", "a", "c"):
        add(store, name)
        clock.now += 1
    assert [take(store).job.id for _ in range(3)] == ["b", "a", "c"]
    assert store.claim("one", 30) is None


def test_many_workers_take_each_job_once(database: Database, clock: Time) -> None:
    store = JobStore(database, clock, max_open_jobs=100)
    for number in range(20):
        add(store, f"{number:02}")
    taken: list[str] = []

    def work() -> None:
        own = JobStore(database, clock)
        while lease := own.claim("any", 30):
            taken.append(lease.job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert sorted(taken) == [f"{number:02}" for number in range(20)]


def test_lost_lease_writes_nothing(store: JobStore, clock: Time) -> None:
    add(store)
    old = take(store, "one")
    clock.now += 31
    new = take(store, "two")
    assert new.fence == old.fence + 1
    before = store.get("a")
    assert not store.beat(old, 99)
    assert not store.finish(old, {})
    assert not store.fail(old, {"reason": "internal"})
    assert not store.release(old)
    assert not store.end_cancelled(old)
    assert store.get("a") == before
    assert store.beat(new, 1)


def test_heartbeats_keep_a_lease(store: JobStore, clock: Time) -> None:
    add(store)
    lease = take(store)
    for done in range(5):
        clock.now += 20
        assert store.claim("two", 30) is None
        assert store.beat(lease, done)


def test_clock_that_jumps_forward_costs_one_attempt(store: JobStore, clock: Time) -> None:
    add(store)
    old = take(store)
    clock.now += 10 * DAY_S
    new = take(store, "two")
    assert not store.beat(old, 1)
    assert store.finish(new, {})


def test_clock_that_is_set_back_blocks_no_job(store: JobStore, clock: Time) -> None:
    add(store)
    dead = take(store)
    clock.now -= 10 * DAY_S
    assert take(store, "two").fence == dead.fence + 1


def test_job_over_which_workers_die_fails(store: JobStore, clock: Time) -> None:
    add(store)
    for _ in range(MOST_ATTEMPTS):
        take(store)
        clock.now += 31
    assert store.claim("one", 30) is None
    job = store.get("a")
    assert job.state == "failed"
    assert job.error is not None
    assert "3 times" in job.error["message"]


def test_release_is_no_failed_attempt(store: JobStore) -> None:
    add(store)
    for _ in range(2 * MOST_ATTEMPTS):
        assert store.release(take(store))
    assert store.get("a").state == "waiting"


def test_released_job_waits_for_its_delay(store: JobStore, clock: Time) -> None:
    add(store)
    full = {"reason": "storage_full", "message": "The disk is full.", "hint": ""}
    assert store.release(take(store), delay_s=60, error=full)
    assert store.get("a").error == full
    assert store.claim("one", 30) is None
    clock.now += 60
    assert store.finish(take(store), {})
    assert store.get("a").error is None


def test_waiting_job_is_cancelled_at_once(store: JobStore, clock: Time) -> None:
    add(store)
    job = store.request_cancel("a")
    assert (job.state, job.ended_at) == ("cancelled", clock.now)
    assert store.claim("one", 30) is None


def test_running_job_is_cancelled_by_its_worker(store: JobStore) -> None:
    add(store)
    lease = take(store)
    assert not store.end_cancelled(lease)
    assert store.request_cancel("a").state == "running"
    assert not store.beat(lease, 1)
    assert store.end_cancelled(lease)
    assert store.get("a").state == "cancelled"


@pytest.mark.parametrize("is_released", [True, False])
def test_cancelled_job_without_its_worker_is_not_taken(
    store: JobStore, clock: Time, is_released: bool
) -> None:
    add(store)
    lease = take(store)
    store.request_cancel("a")
    if is_released:
        store.release(lease)
    clock.now += 31
    assert store.claim("two", 30) is None
    assert store.get("a").state == "cancelled"


def test_ended_job_is_not_cancelled(store: JobStore) -> None:
    add(store)
    store.finish(take(store), {})
    assert store.request_cancel("a").state == "done"


def test_deleted_job_is_gone(store: JobStore) -> None:
    add(store)
    lease = take(store)
    assert store.delete("a")
    assert not store.delete("a")
    assert not store.beat(lease, 1)
    assert not store.exists("a")
    for act in (store.get, store.request_cancel):
        with pytest.raises(Problem, match="no such job"):
            act("a")


def test_jobs_are_listed_by_owner(store: JobStore, clock: Time) -> None:
    for name, owner in (("a", "me"), ("b", "you"), ("c", "me")):
        add(store, name, owner)
        clock.now += 1
    assert [job.id for job in store.for_owner("me")] == ["c", "a"]
    assert [job.id for job in store.for_owner(None)] == ["c", "b", "a"]
    assert [job.id for job in store.for_owner(None, limit=1)] == ["c"]
    assert store.counts() == {"waiting": 3, "running": 0, "done": 0, "failed": 0, "cancelled": 0}


def test_open_jobs_of_a_key_are_bounded(store: JobStore) -> None:
    for name in "abc":
        add(store, name)
    for refused in (lambda: add(store, "d"), lambda: store.require_room("me")):
        with pytest.raises(Problem) as found:
            refused()
        assert (found.value.reason, found.value.status) == ("quota_exceeded", 429)
        assert found.value.retry_after_s
    add(store, "e", "you")
    store.request_cancel("a")
    add(store, "d")


def test_ended_jobs_expire(store: JobStore, clock: Time) -> None:
    add(store, "a")
    add(store, "b")
    store.finish(take(store), {})
    clock.now += 2 * DAY_S - 1
    assert store.expired(clock.now) == []
    assert store.expired(clock.now + 1) == ["a"]


HOSTILE = ("'; DROP TABLE jobs; --", '" OR 1=1', "<script>alert(1)</script>", "%s{0}$(id)", "é\u202e")


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_never_code(store: JobStore, text: str) -> None:
    store.create(NewJob(id=text, owner="o", model=text, options=JobOptions(suffix=".csv", only=(text,))))
    job = store.get(text)
    assert (job.id, job.model, job.options.only) == (text, text, (text,))
    assert store.counts()["waiting"] == 1


def test_rows_of_a_restored_backup_go_on(database: Database, store: JobStore, tmp_path: Path) -> None:
    add(store)
    store.beat(take(store), 3, 10)
    with database.transaction() as connection:
        rows = [dict(row._mapping) for row in connection.execute(select(JOBS))]
    fresh = Database.open(f"sqlite:///{tmp_path / 'fresh' / 'facetry.db'}")
    with fresh.transaction() as connection:
        connection.execute(insert(JOBS), rows)
        connection.execute(update(JOBS).values(lease_until=0.0))
    lease = take(JobStore(fresh), "new")
    fresh.close()
    assert (lease.job.num_done, lease.job.num_products) == (3, 10)
