"""What has been kept long enough goes, with all that names it; what is being made stays."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facetry.errors import DatabaseUnavailable
from facetry.service.jobs.cleaning import Cleaner
from facetry.service.jobs.store import Job
from tests.service.jobs.shop import Shop, photos, table

DAY_S, HOUR_S = 86400.0, 3600.0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "data")
    yield made
    made.database.close()


def ended(shop: Shop) -> Job:
    return shop.work(shop.send(table(), photos()))


def clean(shop: Shop, now: float) -> None:
    Cleaner(shop.config, shop.jobs, lambda: now).clean()


def left(shop: Shop) -> set[str]:
    return {path.name for path in (shop.data / "jobs").iterdir()}


def test_ended_job_is_kept_as_long_as_said(shop: Shop) -> None:
    job, waiting = ended(shop), shop.send(table(), photos())
    assert job.expires_at is not None
    clean(shop, job.expires_at - 1)
    assert left(shop) == {job.id, waiting.id}
    clean(shop, job.expires_at)
    assert left(shop) == {waiting.id}
    assert [each.id for each in shop.jobs.for_owner(None)] == [waiting.id]


def test_folders_that_no_job_has_are_removed_once_they_are_old(shop: Shop) -> None:
    job = shop.send(table(), photos())
    half = shop.data / "jobs" / "half"
    (half / "photos").mkdir(parents=True)
    made_at = half.stat().st_mtime
    clean(shop, made_at + HOUR_S - 1)
    assert left(shop) == {job.id, "half"}
    clean(shop, made_at + HOUR_S)
    assert left(shop) == {job.id}


def test_clock_that_is_set_back_removes_nothing(shop: Shop) -> None:
    job = ended(shop)
    clean(shop, 0.0)
    assert left(shop) == {job.id}


def test_nothing_is_removed_while_the_database_is_gone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.send(table(), photos())
    os.utime(shop.folder(job), (0, 0))

    def gone(_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(shop.jobs, "exists", gone)
    with pytest.raises(DatabaseUnavailable):
        clean(shop, 9e9)
    assert left(shop) == {job.id}


def test_thread_cleans_and_ends(shop: Shop) -> None:
    half = shop.data / "jobs" / "half"
    half.mkdir(parents=True)
    os.utime(half, (0, 0))
    cleaner = Cleaner(shop.config, shop.jobs, interval_s=0.02)
    cleaner.start()
    try:
        for _ in range(100):
            if not half.exists():
                break
            threading.Event().wait(0.05)
    finally:
        cleaner.stop()
    assert left(shop) == set()
    assert not cleaner.is_running
