"""`--on`: refused where it makes no sense; on Ray, the files of a run in one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Runs:
    """Runs of the command on a Ray cluster of their own, one after the other, in a folder."""

    words: Sequence[str]
    out: Path

    def start(self) -> subprocess.Popen[str]:
        """Begin or go on, and wait for one more part."""
        before = parts(self.out)
        command = [sys.executable, "-m", "facetry", "predict", *self.words, "-o", str(self.out)]
        pipe = subprocess.PIPE
        driver = subprocess.Popen(
            [*command, "--on", "ray", "--workers", "2"],
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )
        wait_until(lambda: parts(self.out) != before or driver.poll() is not None)
        return driver

    def end(self, driver: subprocess.Popen[str], code: int) -> tuple[str, str]:
        """Wait for the end, which leaves no process; what was said on both streams."""
        said, errors = driver.communicate(timeout=120)
        assert driver.returncode == code, errors
        wait_until(lambda: not started_by(driver))
        for agent in started_by(driver, is_agent=True):  # of a killed one: they wait a minute
            os.kill(agent, signal.SIGKILL)
        return said, errors


@pytest.mark.cluster
@pytest.mark.slow
def test_on_ray_the_files_are_those_of_one_process(exported: Path, drawn: Path, tmp_path: Path) -> None:
    words = [str(exported), str(drawn / "test.csv"), "--shard-rows", "1", "--engine", "openvino"]
    runs = Runs(words, tmp_path / "ray")
    driver = runs.start()
    driver.kill()
    runs.end(driver, -signal.SIGKILL)

    driver = runs.start()
    driver.terminate()
    assert "Stopped by SIGTERM" in runs.end(driver, 0)[0]

    driver = runs.start()
    os.killpg(driver.pid, signal.SIGINT)  # as Ctrl-C does
    assert "Stopped. " in runs.end(driver, 130)[0]

    said, errors = runs.end(runs.start(), 0)
    assert "(raylet)" not in said + errors
    assert errors.count("Engine: OpenVINO") == 1
    command = ["predict", *words, "-o", str(tmp_path / "here"), "--threads", "1"]
    here = CliRunner().invoke(main.app, command)
    assert here.exit_code == 0, here.output
    assert parts(tmp_path / "ray") == parts(tmp_path / "here")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
