"""Services get each record once; they may fail, and training goes on."""

import importlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facetry.errors import FacetryError, MissingExtra, SettingError
from facetry.runtime.progress import Silent
from facetry.training.tracking import EpochRecord, Position, RunInfo, StepRecord, services, tracking
from facetry.training.tracking.services import Service, require_service, run_id
from facetry.training.tracking.trackers import FaultTolerantTracker
from tests.training.tracking.conftest import History, log_all

RUN_INFO = RunInfo(project="garments", name="nano", recipe={"seed": 0, "training": {"epochs": 2}})


class Lines(Silent):
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class FakeService:
    """A service that stores its records, and fails at some call."""

    def __init__(self, fails_at: int = 0) -> None:
        self.records: History = []
        self.num_calls = 0
        self.fails_at = fails_at

    def log_step(self, record: StepRecord) -> None:
        self._count()
        self.records.append(record)

    def log_epoch(self, record: EpochRecord) -> None:
        self._count()
        self.records.append(record)

    def finish(self) -> None:
        self._count()

    def _count(self) -> None:
        self.num_calls += 1
        if self.num_calls == self.fails_at:
            raise ConnectionError("no network")


@pytest.mark.parametrize(("fails_at", "num_recorded"), [(0, 8), (1, 0), (3, 2), (9, 8)])
def test_a_service_that_fails_gets_no_more_records(
    history: History, fails_at: int, num_recorded: int
) -> None:
    service, lines = FakeService(fails_at), Lines()
    tracker = FaultTolerantTracker("wandb", lambda: service, Position(), lines)
    log_all(tracker, history)
    tracker.finish()
    assert service.records == history[:num_recorded]
    assert service.num_calls == (fails_at or 9)
    sentence = "Tracking with wandb stopped, training goes on: no network"
    assert lines.said == ([sentence] if fails_at else [])


def test_a_service_that_cannot_be_opened_gets_no_records(history: History) -> None:
    def refuse() -> FakeService:
        raise TimeoutError

    lines = Lines()
    tracker = FaultTolerantTracker("wandb", refuse, Position(), lines)
    log_all(tracker, history)
    tracker.finish()
    assert lines.said == ["Tracking with wandb stopped, training goes on: TimeoutError"]


def test_records_sent_before_an_interruption_are_not_sent_again(history: History) -> None:
    service = FakeService()
    sent = Position(epoch=1, step=4)
    log_all(FaultTolerantTracker("wandb", lambda: service, sent, Lines()), history[2:])
    assert service.records == history[5:]


def test_a_training_keeps_its_run_id_and_no_two_share_one(tmp_path: Path) -> None:
    first = run_id(tmp_path / "first")
    assert run_id(tmp_path / "first") == first
    assert run_id(tmp_path / "second") != first


@pytest.mark.parametrize(
    ("service", "error", "hint"),
    [
        ("wandb", MissingExtra, 'pip install "facetry[track]"'),
        ("trackio", SettingError, "pip install trackio"),
    ],
)
def test_a_service_without_its_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, service: Service, error: type[FacetryError], hint: str
) -> None:
    monkeypatch.setattr(services, "find_spec", lambda _: None)
    with pytest.raises(error, match="not installed") as caught:
        require_service(service)
    assert hint in caught.value.hint


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(SettingError, match="Unknown service 'wandbb'") as caught:
        require_service("wandbb")
    assert caught.value.hint == "Did you mean 'wandb'?"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Weights & Biases without a network; the folder that it writes to."""
    wandb = pytest.importorskip("wandb")
    for variable, value in {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
    }.items():
        monkeypatch.setenv(variable, value)
    yield tmp_path / "wandb"
    wandb.teardown()


def track(service: Service, folder: Path, done: Position, records: History) -> None:
    lines = Lines()
    with tracking(folder, done, replace(RUN_INFO, services=(service,)), lines) as tracker:
        log_all(tracker, records)
    assert not lines.said


def test_weights_and_biases_resumes_its_run(offline: Path, history: History, tmp_path: Path) -> None:
    assert require_service("wandb") == "wandb"
    folder = tmp_path / "training"
    track("wandb", folder, Position(), history[:6])
    track("wandb", folder, Position(epoch=1, step=3), history[4:])
    assert len((folder / "steps.jsonl").read_text().splitlines()) == 6
    runs, rows = offline_runs(offline)
    assert [(run.run_id, run.project, run.display_name) for run in runs] == [
        (run_id(folder), "garments", "nano")
    ] * 2
    config = {each.key: each.value_json for each in runs[0].config.update}
    assert json.loads(config["training"]) == {"epochs": 2}
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step/loss"] for row in rows] == [pytest.approx(1 / step) for step in range(1, 7)]
    assert rows[1]["loss of a step/T-Shirts / neck"] == 0.2
    assert rows[5]["score/T-Shirts / neck"] == rows[5]["epoch/score"] == 0.75
    assert rows[4]["step/heads_lr"] == 1e-3
    assert "epoch/loss" in rows[2]
    assert "epoch/loss" not in rows[3]


def test_its_own_variables_take_precedence(
    offline: Path, history: History, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("PROJECT", "NAME", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", f"my_{name.lower()}")
    track("wandb", tmp_path / "training", Position(), history[:1])
    (run,), _ = offline_runs(offline)
    assert (run.project, run.display_name, run.run_id) == ("my_project", "my_name", "my_run_id")


def offline_runs(folder: Path) -> tuple[list[Any], list[dict[str, Any]]]:
    """The runs and the rows in the files of Weights & Biases, in the order in which they came."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # what it had to write is written
    runs, rows = [], []
    for file in sorted(folder.glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        for content in log_records(file.read_bytes()):
            record = Record()
            record.ParseFromString(content)
            if record.WhichOneof("record_type") == "run":
                runs.append(record.run)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({"/".join(each.nested_key): json.loads(each.value_json) for each in items})
    return runs, rows


def log_records(content: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, after the seven bytes that it begins with."""
    place, record = 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # a whole record, or the last part of one
            yield record
            record = b""


def test_trackio_resumes_its_run(
    monkeypatch: pytest.MonkeyPatch, history: History, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    folder = tmp_path / "training"
    track("trackio", folder, Position(), history[:6])
    track("trackio", folder, Position(epoch=1, step=3), history[4:])
    (run,) = trackio.Api().runs("garments")
    assert run.name == f"nano {run_id(folder)}"
    rows = importlib.import_module("trackio.sqlite_storage").SQLiteStorage.get_logs("garments", run.name)
    losses = [(row["step"], row["step/loss"]) for row in rows if "step/loss" in row]
    assert losses == [(step, pytest.approx(1 / step)) for step in range(1, 7)]
    scores = [(row["step"], row["epoch/score"]) for row in rows if "epoch/score" in row]
    assert scores[1:] == [(6, 0.75)]
