"""The log files of a training, and notes on how it was done for the model card.

`log.csv` and `log.jsonl` have a row for each epoch, `heads.csv` a row for each epoch and head,
`steps.jsonl` a row for each step. Rows are appended and flushed at once. A training that resumes from a
checkpoint first cuts the rows after it, so that the log is the same as without an interruption.
`notes.json` has the notes.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from facetry.errors import WriteFailed
from facetry.runtime.files import is_refused, write_text
from facetry.taxonomy import Head
from facetry.training.tracking.records import EpochRecord, StepRecord

Row = dict[str, Any]

_TABLE: Final = "log.csv"
_EPOCHS: Final = "log.jsonl"
_HEADS: Final = "heads.csv"
_STEPS: Final = "steps.jsonl"
LOGS: Final = (_TABLE, _EPOCHS, _HEADS, _STEPS)


class LogFiles:
    """Writes the log into `folder`, after cutting the rows after `epoch` and `step` (0: all rows).

    `logged_epoch` and `logged_step` are the last ones in the log before it was cut.

    Raises:
        WriteFailed: the log cannot be written.
    """

    def __init__(self, folder: Path, *, epoch: int, step: int) -> None:
        self.folder = folder
        self.logged_epoch = self._truncate(_EPOCHS, epoch, lambda line: int(json.loads(line)["epoch"]))
        self.logged_step = self._truncate(_STEPS, step, lambda line: int(json.loads(line)["step"]))
        for name in (_TABLE, _HEADS):
            self._truncate(name, epoch, _leading_number)

    def log_step(self, record: StepRecord) -> None:
        """Append a row to `steps.jsonl`."""
        self._append(_STEPS, _json_line(step_row(record)))

    def log_epoch(self, record: EpochRecord) -> None:
        """Append a row to `log.csv` and `log.jsonl`, and one for each head to `heads.csv`."""
        row = epoch_row(record)
        self._append(_EPOCHS, _json_line(row))
        self._append_table(_TABLE, [row])
        self._append_table(_HEADS, _head_rows(record))

    def finish(self) -> None:
        """Do nothing, since all rows are in the files already."""

    def _truncate(self, name: str, last: int, number_of: Callable[[str], int]) -> int:
        """Cut the rows after number `last`; return the number of the last row before the cut."""
        path = self.folder / name
        if not path.is_file():
            return 0
        with path.open(encoding="utf-8", newline="\n") as file:
            rows = [(_number(line, number_of), line) for line in file]
        complete = list(takewhile(lambda row: row[0] is not None, rows))
        kept = "".join(line for number, line in complete if number is not None and number <= last)
        try:
            write_text(path, kept)
        except OSError as error:
            if not is_refused(error):
                raise
            raise _write_failed(path, error) from error
        return max((number for number, _ in complete if number is not None), default=0)

    def _append_table(self, name: str, rows: Iterable[Row]) -> None:
        """Append rows to a CSV file, with a header if it is new or empty."""
        path, text = self.folder / name, io.StringIO()
        is_new = not path.exists() or not path.stat().st_size
        for row in rows:
            writer = csv.DictWriter(text, fieldnames=list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)
            is_new = False
        self._append(name, text.getvalue())

    def _append(self, name: str, text: str) -> None:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except OSError as error:
            if not is_refused(error):
                raise
            raise _write_failed(path, error) from error


def step_row(record: StepRecord) -> Row:
    """A step as `steps.jsonl` has it; the keys of its losses by head are the heads' names."""
    return {
        "step": record.step,
        "epoch": record.epoch,
        "loss": record.loss,
        "gradient_norm": record.gradient_norm,
        **_rates(record.learning_rates),
        "photos_per_s": record.photos_per_s,
        "waiting_share": record.waiting_share,
        "memory_mib": record.memory_mib,
        "loss_by_head": {head.name: loss for head, loss in record.loss_by_head.items()},
    }


def epoch_row(record: EpochRecord) -> Row:
    """An epoch as `log.csv` has it."""
    return {
        "epoch": record.epoch,
        "step": record.step,
        "loss": record.loss,
        "score": record.score,
        "gradient_norm": record.gradient_norm,
        **_rates(record.learning_rates),
        "photos_per_s": record.photos_per_s,
        "waiting_share": record.waiting_share,
        "memory_mib": record.memory_mib,
        "seconds": record.seconds,
    }


def _head_rows(record: EpochRecord) -> Iterable[Row]:
    heads: dict[Head, None] = dict.fromkeys((*record.loss_by_head, *record.score_by_head))
    for head in heads:
        yield {
            "epoch": record.epoch,
            "category": head.category,
            "attribute": head.attribute,
            "loss": record.loss_by_head.get(head),
            "score": record.score_by_head.get(head),
        }


def _rates(rates: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_lr": rate for name, rate in rates.items()}


def _json_line(row: Row) -> str:
    """A row as JSON, with null for NaN and infinity, which JSON lacks."""
    return f"{json.dumps(_finite(row))}\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _leading_number(line: str) -> int:
    """The number at the start of a row of a CSV file; 0 for the header."""
    first = line.partition(",")[0]
    return 0 if first == "epoch" else int(first)


def _number(line: str, number_of: Callable[[str], int]) -> int | None:
    """A row's number; None for a row that was not written completely."""
    try:
        return number_of(line) if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None


def _write_failed(path: Path, error: OSError) -> WriteFailed:
    return WriteFailed(
        f"The log {path} could not be written: {error}",
        hint="Make room on the disk, then run the same command again: it goes on where it stopped.",
    )


_NOTES = "notes.json"


def write_note(folder: Path, topic: str, sentence: str) -> None:
    """Add a note, which replaces an earlier one on the same topic."""
    write_text(folder / _NOTES, json.dumps({**read_notes(folder), topic: sentence}, indent=1))


def read_notes(folder: Path) -> dict[str, str]:
    """The notes by topic; empty if there are none."""
    path = folder / _NOTES
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
