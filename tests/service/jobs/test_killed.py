"""Processes that are killed in the middle of a job, and several of them on one database."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.jobs.server_process import PART_ROWS, TIMING, small_parts
from tests.service.jobs.shop import Shop, filled, photos, table

pytestmark = pytest.mark.slow

NUM_PRODUCTS = 160  # of which half are to be predicted


@contextmanager
def server(project: Path, data: Path, num_batches: int) -> Iterator["subprocess.Popen[str]"]:
    """A process that works off jobs; it is killed in any case."""
    command = [sys.executable, "-m", "tests.service.jobs.server_process", str(data), str(num_batches)]
    process = subprocess.Popen(
        command, cwd=project, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "started\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def lines_until(process: "subprocess.Popen[str]", last: str) -> list[str]:
    """The lines that a process writes before a line."""
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    found = []
    for line in lines:
        if line == f"{last}\n":
            return found
        found.append(line.strip())
    raise AssertionError(found)


@pytest.mark.parametrize("num_batches", [0, 1, 3])
def test_killed_job_goes_on_with_nothing_doubled(
    project: Path, tmp_path: Path, num_batches: int
) -> None:
    shop = Shop(tmp_path / "data")
    job = shop.send(table(NUM_PRODUCTS), photos(NUM_PRODUCTS))
    with server(project, shop.data, num_batches) as process:
        before = lines_until(process, "still")
        process.kill()
    assert shop.jobs.get(job.id).state == "running"
    workers = shop.workers(TIMING)
    with small_parts():
        workers.start()
        try:
            ended = shop.wait(job)
        finally:
            workers.stop(20)
    assert (ended.state, ended.attempts) == ("done", 2)
    assert shop.result(job) == filled(NUM_PRODUCTS)
    done_before = [each for line in before for each in line.split()]
    num_kept = max(0, len(before) - 1) * PART_ROWS  # at most the last part may not have been stored
    assert not {*done_before[:num_kept]} & {*map(str, shop.predictor.asked)}
    assert {*done_before, *map(str, shop.predictor.asked)} == {
        f"p{n}" for n in range(0, NUM_PRODUCTS, 2)
    }
    assert len(shop.predictor.asked) == len({*shop.predictor.asked})
    shop.database.close()


def test_job_that_kills_its_process_is_given_up(project: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "data")
    job = shop.send(table(), photos())
    for _ in range(3):
        with server(project, shop.data, 0) as process:
            lines_until(process, "still")
    job = shop.work(job)
    assert job.state == "failed"
    assert job.error is not None
    assert "3 times" in job.error["message"]
    shop.database.close()


def test_two_servers_on_one_database_do_each_job_once(project: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "data")
    jobs = [shop.send(table(), photos()) for _ in range(8)]
    with server(project, shop.data, -1) as one, server(project, shop.data, -1) as two:
        ended = [shop.wait(job) for job in jobs]
        said = [process.communicate(timeout=30)[0] for process in (one, two)]  # its input ends
        assert [process.returncode for process in (one, two)] == [0, 0]
    assert [(job.state, job.attempts) for job in ended] == [("done", 1)] * 8
    assert {shop.result(job) for job in jobs} == {filled()}
    assert sorted("".join(said).split()) == sorted(["p0", "p2", "p4", "p6"] * 8)
    shop.database.close()
