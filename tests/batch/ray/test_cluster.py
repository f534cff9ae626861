"""On a real Ray cluster, whatever is killed: every row once, the same bytes as locally."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import polars as pl
import pytest

from facetry.batch.local import BatchConfig, predict_on, predict_table
from facetry.batch.ray.cluster import RayCluster, Resources
from facetry.batch.ray.connect import Address, connected
from facetry.batch.ray.messages import Versions
from facetry.batch.ray.pool import Pool
from facetry.batch.ray.runner import RayConfig, RayRunner, open_ray_runner
from facetry.batch.ray.scoring import ScoringJob
from facetry.build.promising import ModelSource
from facetry.catalogue.catalogue import open_catalogue
from facetry.engines.engine import EngineConfig
from facetry.errors import ClusterError, ModelFolderError, SettingError
from facetry.models.folder import open_folder
from facetry.runtime.progress import SILENT
from facetry.runtime.signals import Stopped
from tests.batch.ray.driving import COMMAND, SlowSource, predict, started
from tests.batch.workloads import Lines, make_table, outcome, run

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NUM_KILLS = 10
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of four logical CPUs, which this process is connected to."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text("a-token-of-these-tests-alone-" + "0" * 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        with started() as found:
            yield found
    assert not processes_of(found)


def processes_of(address: str) -> list[str]:
    """The processes of a cluster that are still there."""
    port = address.rpartition(":")[2]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)  # noqa: S607
        left = [line for line in listed.stdout.splitlines() if f":{port}" in line and "ray" in line]
        if not left:
            return []
        time.sleep(0.2)
    return left


def assert_as_local(folder: Path) -> None:
    assert not list((folder / "out").rglob("*.draft"))
    run(folder, out="local")
    assert outcome(folder / "out") == outcome(folder / "local")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def num_parts(folder: Path) -> int:
    manifest = folder / "out" / "manifest.json"
    return len(json.loads(manifest.read_text())["parts"]) if manifest.exists() else 0


def test_two_workers_with_an_engine_give_the_parts_of_one_process(
    address: str, exported: Path, drawn: Path, tmp_path: Path
) -> None:
    folder = open_folder(exported)
    source = ModelSource.of(folder, EngineConfig(name="openvino", num_threads=1), None)
    catalogue = open_catalogue(drawn / "test.csv", taxonomy=folder.taxonomy)
    config = RayConfig(address=Address.parse(address), num_workers=2)
    lines = Lines()
    images = catalogue.source.images
    with open_ray_runner(source, folder.taxonomy, config, images=images, reporter=lines) as runner:
        batch = BatchConfig(model=runner.pool.join(2), shard_rows=3)
        predict_on(runner, catalogue, tmp_path / "ray", batch, reporter=lines)
    loaded = source.open()
    assert loaded.fingerprint == batch.model
    predict_table(loaded.predictor, catalogue, tmp_path / "local", batch)
    assert outcome(tmp_path / "ray") == outcome(tmp_path / "local")
    (line,) = [line for line in lines.said if "Engine" in line]
    assert re.search(r"The worker .*: Engine: OpenVINO .* 1 thread", line)
    assert lines.num_rows == lines.total


def test_both_workers_work(address: str, tmp_path: Path) -> None:
    folder = make_table(tmp_path, 300)
    predict(folder, address)
    assert len(list((folder / "told").iterdir())) == 2
    assert_as_local(folder)


def test_workers_killed_at_random_moments_lose_and_double_no_row(address: str, tmp_path: Path) -> None:
    folder = make_table(tmp_path, 600)
    draw, killed = Random(1), []

    def kill(runner: RayRunner) -> None:
        while len(killed) < NUM_KILLS:
            time.sleep(draw.uniform(0, 0.2))
            members = list(runner.pool._members.values())
            busy = [each for each in members if each.task and not each.task.num_tries]
            if busy:
                process = int(draw.choice(busy).name.rpartition(" ")[2])
                if process not in killed:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)

    lines = Lines()
    predict(
        folder,
        address,
        num_workers=3,
        reporter=lines,
        then=lambda runner: threading.Thread(target=kill, args=(runner,), daemon=True).start(),
    )
    assert len(killed) == NUM_KILLS
    assert sum("killed or crashed" in line for line in lines.said) >= NUM_KILLS - 1  # one may be idle
    assert lines.num_rows == 600
    assert_as_local(folder)


def test_a_worker_that_is_sent_sigterm_gives_its_shard_back(address: str, tmp_path: Path) -> None:
    folder = make_table(tmp_path, 200)

    def drain(runner: RayRunner) -> None:
        wait_for(lambda: any(each.task for each in runner.pool._members.values()))
        first = next(each for each in runner.pool._members.values() if each.task)
        os.kill(int(first.name.rpartition(" ")[2]), signal.SIGTERM)

    lines = Lines()
    predict(
        folder,
        address,
        reporter=lines,
        then=lambda runner: threading.Thread(target=drain, args=(runner,), daemon=True).start(),
    )
    assert sum("is ending: another one gets part" in line for line in lines.said) == 1
    assert not any("died" in line for line in lines.said)
    assert_as_local(folder)


def test_drivers_killed_at_random_moments_here_and_there(address: str, tmp_path: Path) -> None:
    folder, draw = make_table(tmp_path, 600), Random(2)
    for number in range(NUM_KILLS):
        before = num_parts(folder)
        where = ("-", address)[number % 2]
        command = [*COMMAND, str(folder), where]
        errors = tmp_path / f"errors_{number}"
        with errors.open("w") as file:
            driver = subprocess.Popen(command, stderr=file)
        more = draw.randint(0, 3)
        wait_for(lambda: num_parts(folder) >= before + more or driver.poll() is not None)  # noqa: B023
        time.sleep(draw.uniform(0, 0.2))
        assert driver.poll() is None, errors.read_text()
        driver.kill()
        driver.wait()
    assert 0 < num_parts(folder) < 60
    summary = predict(folder, address)
    assert summary.num_done_before > 0
    assert_as_local(folder)


def test_a_stopped_driver_ends_its_workers(address: str, tmp_path: Path) -> None:
    folder = make_table(tmp_path, 300)
    lines = Lines(60, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped):
        predict(folder, address, reporter=lines)
    assert num_parts(folder) >= 3
    processes = [int(each.name) for each in (folder / "told").iterdir()]
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in processes))
    assert predict(folder, address).num_done_before >= 30
    assert_as_local(folder)


def test_nodes_killed_at_random_moments_lose_and_double_no_row(tmp_path: Path) -> None:
    """In a process of its own, as its cluster is another one."""
    folder = make_table(tmp_path, 600)
    command = [sys.executable, "-m", "tests.batch.ray.two_nodes", str(folder), str(NUM_KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{NUM_KILLS} nodes killed" in done.stdout
    assert_as_local(folder)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "wants another token, or one at all"),
        ({"RAY_AUTH_TOKEN": "another-token-" + "1" * 32}, "wants another token, or one at all"),
        ({"RAY_AUTH_TOKEN_PATH": os.devnull, "HOME": "/nowhere"}, "wants another token, or one at all"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere/token"}, "names /nowhere/token, which does not exist"),
    ],
)
def test_a_cluster_that_wants_another_token(
    address: str, tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    command = [*COMMAND, str(make_table(tmp_path, 10)), address]
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said in done.stderr
    assert "RAY_AUTH_MODE=token" in done.stderr
    assert num_parts(tmp_path) == 0


def test_another_version_on_a_worker(address: str) -> None:
    theirs = Versions(facetry="9.9", python="3.11")
    with connected(Address.parse(address), SILENT):
        job = ScoringJob(source=SlowSource(Path()))
        pool = Pool(RayCluster(job, Resources(), theirs), 1, SILENT)
        with pytest.raises(ClusterError, match=r"the driver has Facetry 9\.9 on Python 3\.11"):
            pool.join()


def test_a_worker_without_facetry(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['facetry'] = None\n")
    environment = {**Resources().environment, "PYTHONPATH": str(tmp_path)}
    monkeypatch.setattr(Resources, "environment", environment)
    with connected(Address.parse(address), SILENT):
        pool = Pool(RayCluster(ScoringJob(source=SlowSource(Path())), Resources()), 1, SILENT)
        with pytest.raises(ClusterError, match="lacks this version of Facetry"):
            pool.join()


def test_a_model_that_workers_cannot_read(address: str, exported: Path) -> None:
    folder = open_folder(exported)
    source = ModelSource.of(folder, EngineConfig(name="openvino"), None)
    source = type(source)(path=Path("/nowhere"), model=source.model, engine=source.engine)
    config = RayConfig(address=Address.parse(address), num_workers=1)
    with (
        pytest.raises(ModelFolderError, match=r"'/nowhere' does not exist.*on the worker"),
        open_ray_runner(source, folder.taxonomy, config, images=None, reporter=SILENT),
    ):
        pass


def test_more_than_the_cluster_has(address: str) -> None:
    with connected(Address.parse(address), SILENT):
        assert Resources(num_cpus=2).num_places() == 2
        with pytest.raises(SettingError, match=r"has 4 CPUs and 0 GPUs; a worker needs 1 CPUs and 0\.5"):
            Resources(num_gpus=0.5).num_places()


def test_statuses_and_ids_are_those_of_the_table(address: str, tmp_path: Path) -> None:
    folder = make_table(tmp_path, 60)
    predict(folder, address)
    rows = pl.concat(map(pl.read_parquet, sorted((folder / "out" / "parts").iterdir())))
    assert rows["id"].to_list() == list(range(60))
    assert rows["status"].to_list()[3:6:2] == ["file not found", "not an image"]
