"""A run that is stopped goes on, and ends as an unbroken one does."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facetry.batch.local import BatchConfig, predict_table
from facetry.errors import (
    FolderInUse,
    FolderMismatch,
    FolderOccupied,
    InputChanged,
    WriteFailed,
)
from facetry.runtime.files import try_lock
from facetry.runtime.progress import SILENT
from facetry.runtime.workers import run_in_worker
from tests.batch import workloads
from tests.batch.workloads import Lines, Seeing, make_table, outcome, run, write_table
from tests.runtime.killing import kill_at_random

NUM_ROWS = 57


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_table(tmp_path, NUM_ROWS)


def stop() -> None:
    raise KeyboardInterrupt


def stop_after(num_rows: int, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(folder, reporter=Lines(num_rows, stop))


@pytest.mark.slow
def test_a_run_killed_at_random_moments_gives_the_same_tables(tmp_path: Path) -> None:
    folder = make_table(tmp_path, 300)
    assert kill_at_random(folder / "out", 60, run, folder) == 10
    assert not json.loads((folder / "out" / "manifest.json").read_text())["is_finished"]
    summary = run(folder)
    assert summary.num_done_before >= 50
    run(folder, out="unbroken")
    assert outcome(folder / "out") == outcome(folder / "unbroken")
    assert not list((folder / "out").rglob("*.draft"))


def test_finished_parts_are_not_predicted_again(folder: Path) -> None:
    stop_after(35, folder)
    assert not (folder / "out" / "submission.csv").exists()
    predictor, lines = Seeing(), Lines()
    summary = run(folder, predictor, reporter=lines)
    assert min(predictor.predicted) == 30
    assert (summary.num_new, summary.num_done_before, summary.num_reused) == (27, 30, 0)
    assert lines.said == ["30 rows were already done when the run was stopped."]
    assert (lines.total, lines.num_rows) == (27, 27)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_damaged_and_stray_parts_are_predicted_again(
    folder: Path, spoil: Callable[[Path], object]
) -> None:
    stop_after(35, folder)
    parts = folder / "out" / "parts"
    spoil(sorted(parts.iterdir())[1])
    (parts / "part-00003-01234567.parquet").write_text("not on the list")
    predictor = Seeing()
    assert run(folder, predictor).num_done_before == 20
    assert set(range(10)) | set(range(20, 30)) == set(range(30)) - set(predictor.predicted)
    run(folder, out="unbroken")
    assert outcome(folder / "out") == outcome(folder / "unbroken")


def test_stopped_while_the_tables_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facetry.batch import local

    with monkeypatch.context() as patch:
        patch.setattr(local, "write_outputs", lambda *_, **__: stop())
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    predictor = Seeing()
    assert run(folder, predictor).num_done_before == NUM_ROWS
    assert not predictor.predicted


@pytest.mark.slow
def test_sigterm_leaves_only_complete_parts(folder: Path) -> None:
    what, _ = run_in_worker(workloads.predict_until_sigterm, folder, reporter=SILENT)
    assert what == "stopped"
    assert len(list((folder / "out" / "parts").iterdir())) == 2
    assert run(folder).num_done_before == 20


def test_a_second_run_into_one_folder_is_refused(folder: Path) -> None:
    with try_lock(folder / "out"), pytest.raises(FolderInUse, match="written by another process"):
        run(folder)
    assert not list((folder / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("submission.csv", "mine", "was not made by `facetry predict`: it holds submission.csv"),
        ("parts", None, "it holds parts"),
        ("manifest.json", "{}", "was not made by `facetry predict`"),
        ("manifest.json", '{"name": "an app"}', "was not made by `facetry predict`"),
        ("manifest.json", "{", "was not made by `facetry predict`"),
    ],
)
def test_a_folder_that_holds_something_else(
    folder: Path, name: str, content: str | None, message: str
) -> None:
    path = folder / "out" / name
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(FolderOccupied, match=message):
        run(folder)
    assert [each.name for each in (folder / "out").iterdir()] == [name]


def test_a_folder_of_a_newer_version(folder: Path) -> None:
    run(folder)
    path = folder / "out" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FolderMismatch, match="is of format 2; this version reads up to 1"):
        run(folder)


def test_a_photo_folder_that_vanishes(folder: Path) -> None:
    photos, away = folder / "photos", folder / "away"
    lines = Lines(10, lambda: photos.rename(away))
    with pytest.raises(InputChanged, match=r"photo folder .* has vanished"):
        run(folder, reporter=lines)
    away.rename(photos)
    run(folder)
    run(folder, out="unbroken")
    assert outcome(folder / "out") == outcome(folder / "unbroken")


def test_a_photo_folder_that_is_emptied(folder: Path) -> None:
    """As a disk does that is unmounted."""
    photos, away = folder / "photos", folder / "away"

    def empty() -> None:
        photos.rename(away)
        photos.mkdir()

    with pytest.raises(InputChanged, match="has vanished"):
        run(folder, reporter=Lines(10, empty))


def test_photos_that_come_while_they_are_waited_for(folder: Path) -> None:
    lines = Lines(1, lambda: workloads.draw_photo(folder / "photos" / "3.png", 3))
    assert run(folder, reporter=lines).problems == {"not an image": 1}
    assert lines.num_rows == NUM_ROWS


def test_a_table_that_changes_meanwhile(folder: Path) -> None:
    lines = Lines(25, lambda: write_table(folder, range(40)))
    with pytest.raises(InputChanged, match="changed while its products were predicted"):
        run(folder, reporter=lines)
    predictor = Seeing()
    summary = run(folder, predictor)
    assert (summary.num_products, summary.num_reused) == (
        40,
        19,
    )  # row 3 has no photo, so it is not reused
    run(folder, out="unbroken")
    assert outcome(folder / "out") == outcome(folder / "unbroken")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "facetry-test", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"may not mount a small disk: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S607


@pytest.mark.parametrize("num_free", [0, 8192, 24576])
def test_a_full_disk(folder: Path, small_disk: Path, num_free: int) -> None:
    room = os.statvfs(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize - num_free))
    catalogue, config = workloads.open_table(folder), BatchConfig(model="one", shard_rows=10)
    with pytest.raises(WriteFailed, match=r"disk .* is full") as caught:
        predict_table(Seeing(), catalogue, small_disk / "out", config)
    assert "resumes where it stopped" in caught.value.hint
    assert not list(small_disk.rglob("*.draft"))
    filler.unlink()
    predict_table(Seeing(), catalogue, small_disk / "out", config)
    run(folder, out="unbroken")
    assert outcome(small_disk / "out") == outcome(folder / "unbroken")
