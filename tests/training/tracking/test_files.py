"""The log's files: a row for each step, epoch and head, and no trace of an interruption."""

import csv
import json
from pathlib import Path

import pytest

from facetry.errors import WriteFailed
from facetry.training.tracking import EpochRecord, StepRecord
from facetry.training.tracking.files import LogFiles
from tests.training.tracking.conftest import History, log_all

NAMES = {"log.csv", "log.jsonl", "heads.csv", "steps.jsonl"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def unbroken(history: History, tmp_path: Path) -> dict[str, bytes]:
    log = LogFiles(tmp_path / "unbroken", epoch=0, step=0)
    log_all(log, history)
    log.finish()
    return contents(tmp_path / "unbroken")


def test_each_step_epoch_and_head_has_its_row(unbroken: dict[str, bytes]) -> None:
    assert set(unbroken) == NAMES
    steps = [json.loads(line) for line in unbroken["steps.jsonl"].splitlines()]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[1] == {
        "step": 2,
        "epoch": 1,
        "loss": 0.5,
        "gradient_norm": 0.5,
        "backbone_lr": 1e-5,
        "heads_lr": 1e-3,
        "photos_per_s": 10.0,
        "waiting_share": 0.01,
        "memory_mib": 100.0,
        "loss_by_head": {"Sarees / border": 0.1, "T-Shirts / neck": 0.2},
    }
    epochs = [json.loads(line) for line in unbroken["log.jsonl"].splitlines()]
    assert [row["score"] for row in epochs] == [None, 0.75]  # JSON knows no NaN
    table = list(csv.DictReader(unbroken["log.csv"].decode().splitlines()))
    assert [(row["epoch"], row["score"]) for row in table] == [("1", "nan"), ("2", "0.75")]
    assert list(table[0]) == list(epochs[0])
    heads = list(csv.DictReader(unbroken["heads.csv"].decode().splitlines()))
    assert [tuple(row.values()) for row in heads] == [
        ("1", "Sarees", "border", "0.5", ""),
        ("1", "T-Shirts", "neck", "0.25", ""),
        ("2", "Sarees", "border", "0.5", ""),
        ("2", "T-Shirts", "neck", "0.25", "0.75"),
    ]


@pytest.mark.parametrize(
    ("num_records", "epoch", "step"),
    [(2, 0, 0), (2, 0, 1), (4, 0, 3), (4, 1, 3), (6, 1, 4), (8, 1, 3), (8, 2, 6)],
)
def test_rows_after_the_checkpoint_are_written_again(
    history: History, unbroken: dict[str, bytes], tmp_path: Path, num_records: int, epoch: int, step: int
) -> None:
    folder = tmp_path / "broken"
    log_all(LogFiles(folder, epoch=0, step=0), history[:num_records])
    log = LogFiles(folder, epoch=epoch, step=step)
    done = step + epoch
    before = history[:num_records]
    assert log.logged_step == sum(isinstance(record, StepRecord) for record in before)
    assert log.logged_epoch == sum(isinstance(record, EpochRecord) for record in before)
    log_all(log, history[done:])
    assert contents(folder) == unbroken


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("torn", ["7", "7,", '{"step": 7, "epoch"', "\x00\x00\n\x00\n"])
def test_a_torn_row_is_cut(
    history: History, unbroken: dict[str, bytes], tmp_path: Path, name: str, torn: str
) -> None:
    folder = tmp_path / "torn"
    log_all(LogFiles(folder, epoch=0, step=0), history[:4])
    with (folder / name).open("a") as file:
        file.write(torn)
    log = LogFiles(folder, epoch=1, step=3)
    assert (log.logged_epoch, log.logged_step) == (1, 3)
    log_all(log, history[4:])
    assert contents(folder) == unbroken


def test_a_log_that_cannot_be_written_stops_training(history: History, tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").mkdir()
    with pytest.raises(WriteFailed, match=r"log .*steps.jsonl could not be written") as caught:
        log_all(LogFiles(tmp_path, epoch=0, step=0), history)
    assert "same command again" in caught.value.hint
