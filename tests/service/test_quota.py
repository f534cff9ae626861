"""The photos that a key may send, on a clock that the test turns."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from facetry.service import quota as module
from facetry.service.problems import Problem
from facetry.service.quota import Quota


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quota(clock: FakeClock) -> Quota:
    return Quota(60, clock)


def num_taken(quota: Quota, key_id: str = "a", limit: int = 1000) -> int:
    """How many single photos are taken before one is refused."""
    for number in range(limit):
        try:
            quota.take(key_id, 1)
        except Problem:
            return number
    return limit


def test_without_a_limit_anything_is_taken() -> None:
    Quota(None).take("a", 10**9)


def test_a_minute_s_photos_may_come_at_once_and_no_more(quota: Quota) -> None:
    quota.take("a", 60)
    with pytest.raises(Problem, match="used up") as caught:
        quota.take("a", 3)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 3.0)


def test_after_the_time_to_wait_the_photos_are_taken(quota: Quota, clock: FakeClock) -> None:
    quota.take("a", 60)
    clock.now += 2.9
    with pytest.raises(Problem):
        quota.take("a", 3)
    clock.now += 0.1001
    quota.take("a", 3)


def test_what_is_refused_is_not_counted(quota: Quota) -> None:
    quota.take("a", 50)
    with pytest.raises(Problem):
        quota.take("a", 11)
    quota.take("a", 10)


def test_more_in_a_request_than_in_a_minute_is_never_taken(quota: Quota) -> None:
    with pytest.raises(Problem, match="61 photos in one request") as caught:
        quota.take("a", 61)
    assert caught.value.retry_after_s is None
    assert num_taken(quota) == 60


def test_keys_do_not_share(quota: Quota) -> None:
    assert [num_taken(quota, key_id) for key_id in ("a", "b", "")] == [60, 60, 60]


@pytest.mark.parametrize(("jump_s", "num_more"), [(1e9, 60), (-1e9, 0), (30.0, 30), (0.0, 0)])
def test_a_clock_that_jumps_gives_a_minute_s_photos_at_most(
    jump_s: float, num_more: int, quota: Quota, clock: FakeClock
) -> None:
    assert num_taken(quota) == 60
    clock.now += jump_s
    assert num_taken(quota) == num_more
    clock.now += 1.001
    assert num_taken(quota) == 1


def test_as_many_are_remembered_as_are_allowed(quota: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BUCKETS", 3)
    for key_id in "abcd":
        quota.take(key_id, 60)
    assert len(quota._buckets) == 3
    assert [num_taken(quota, key_id) for key_id in "bcd"] == [0, 0, 0]
    assert num_taken(quota, "a") == 60, "forgotten first"


def test_threads_together_get_what_one_would(quota: Quota) -> None:
    start = threading.Barrier(4)

    def take(_: int) -> int:
        start.wait(timeout=10)
        return num_taken(quota)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) == 60
