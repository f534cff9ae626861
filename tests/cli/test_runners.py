"""`--on`: refused where it makes no sense; on Ray, the files of a run in one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.cli import main
from facetry.errors import MissingExtra, SettingError


def refused(model: Path, drawn: Path, *words: object) -> Exception:
    command = ["predict", model, drawn / "test.csv", *words]
    result = CliRunner().invoke(main.app, [str(word) for word in command])
    assert isinstance(result.exception, Exception)
    return result.exception


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "2"], "--workers and --gpus-per-worker are about a Ray cluster"),
        (["--gpus-per-worker", "0.5"], "are about a Ray cluster"),
        (["--on", "moon"], "'moon' names no Ray cluster"),
        (["--on", "ray"], "--on needs a folder for the predictions"),
    ],
)
def test_options_that_make_no_sense(tiny_model: Path, drawn: Path, words: list[str], said: str) -> None:
    error = refused(tiny_model, drawn, *words)
    assert isinstance(error, SettingError)
    assert said in error.message


def test_without_the_extra(
    tiny_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    error = refused(tiny_model, drawn, "--on", "ray", "-o", tmp_path / "out")
    assert isinstance(error, MissingExtra)
    assert str(error).startswith("--on ray needs packages that are not installed.\n")
    assert "facetry[scale]" in error.hint
    assert not (tmp_path / "out").exists()


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "parts").glob("*.parquet")}


def started_by(process: subprocess.Popen[str], *, is_agent: bool = False) -> list[int]:
    """The processes of a session, but for its first: Ray's agents, or all others."""
    command = ["ps", "-eo", "pid,sess,stat,args"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split(maxsplit=3) for line in listed.stdout.splitlines()[1:]]
    return [
        int(pid)
        for pid, session, state, words in rows
        if int(session) == process.pid != int(pid)
        and not state.startswith("Z")
        and words.startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent")) == is_agent
    ]


@pytest.mark.slow
def test_on_ray_the_files_are_those_of_one_process(exported: Path, drawn: Path, tmp_path: Path) -> None:
    """It is killed at first, which leaves no process; then it is stopped by SIGTERM, then it goes on."""
    words = [str(exported), str(drawn / "test.csv"), "--shard-rows", "4", "--engine", "openvino"]
    command = [sys.executable, "-m", "facetry", "predict", *words, "-o", str(tmp_path / "ray")]

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, "--on", "ray", "--workers", "2"],
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    driver = start()
    wait_until(lambda: (tmp_path / "ray" / "manifest.json").exists() or driver.poll() is not None)
    assert started_by(driver)
    driver.kill()
    driver.communicate()
    wait_until(lambda: not started_by(driver))
    for agent in started_by(driver, is_agent=True):  # they look for the cluster for a minute more
        os.kill(agent, signal.SIGKILL)

    driver = start()
    wait_until(lambda: len(parts(tmp_path / "ray")) > 0 or driver.poll() is not None)
    os.kill(driver.pid, signal.SIGTERM)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert "Stopped by SIGTERM" in said or "Written to" in said
    wait_until(lambda: not started_by(driver))

    driver = start()
    said, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    assert "(raylet)" not in said + errors
    assert errors.count("Engine: OpenVINO") == 1
    wait_until(lambda: not started_by(driver))
    here = CliRunner().invoke(
        main.app, ["predict", *words, "-o", str(tmp_path / "here"), "--threads", "1"]
    )
    assert here.exit_code == 0, here.output
    assert parts(tmp_path / "ray") == parts(tmp_path / "here")


def wait_until(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
