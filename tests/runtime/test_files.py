"""Files and folders are wholly there or not at all, on a full disk too."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from facetry.errors import WriteFailed
from facetry.runtime.files import (
    is_refused,
    listing,
    place_folder,
    remove_drafts,
    sha256,
    try_lock,
    write_text,
    writing,
    writing_folder,
)
from facetry.training import checkpoints
from facetry.training.state import TrainingState


class Interrupted(BaseException):
    """As Ctrl-C is no `Exception`."""


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def fail_writing(path: Path, error: BaseException) -> None:
    with writing(path) as draft:
        draft.write_text("half of it")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), Interrupted()])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)):
        fail_writing(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_a_failed_write_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"):
        fail_writing(tmp_path / "new" / "table.csv", ValueError("no"))
    assert not names(tmp_path / "new")


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    write_text(path, "old")
    with writing(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old"
        assert draft.parent == path.parent, "another file system could not be renamed from"
    assert path.read_text() == "new"
    assert names(path.parent) == ["table.csv"]


def test_a_draft_that_was_never_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), writing(path):
        pass
    assert path.read_text() == "old"


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for content in ("first", "second"):
        with writing_folder(folder) as draft:
            (draft / "inner").mkdir()
            (draft / "inner" / content).write_text(content)
        assert names(folder / "inner") == [content]
    assert names(tmp_path) == ["model"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()

    def fail() -> None:
        with writing_folder(folder) as draft:
            (draft / "new").touch()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["model"]


def test_drafts_of_killed_processes_are_removed_and_those_of_running_ones_are_not(
    tmp_path: Path,
) -> None:
    left, written = tmp_path / ".model.1.draft", tmp_path / ".model.2.draft"
    left.mkdir()
    (left / "weights").touch()
    (tmp_path / ".model.3.draft").touch()  # a file's
    with try_lock(written), writing_folder(tmp_path / "model"):
        assert not left.exists()
    assert names(tmp_path) == [".model.2.draft", ".model.3.draft", "model"]


def test_a_finished_folder_is_moved(tmp_path: Path) -> None:
    draft, folder = tmp_path / "model.partial", tmp_path / "model"
    draft.mkdir()
    write_text(draft / "recipe.yaml", "kind: classifier")
    place_folder(draft, folder)
    assert not draft.exists()
    assert (folder / "recipe.yaml").read_text() == "kind: classifier"


def test_checksums_and_listings(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "inner/c.txt", "inner/d.csv"):
        write_text(tmp_path / name, "abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert sha256(tmp_path / "a.txt") == expected
    found = listing(tmp_path, lambda path: path.suffix == ".txt")
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.txt", "b.txt", "inner/c.txt"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "facetry-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"may not mount a small disk: {error}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def make_state(num_weights: int) -> TrainingState:
    model = torch.nn.Linear(num_weights, 1)
    return TrainingState(
        model=model,
        optimiser=torch.optim.AdamW(model.parameters()),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )


def test_a_full_disk_leaves_the_old_checkpoint(small_disk: Path) -> None:
    state = make_state(1000)
    state.epoch, state.num_steps = 3, 30
    state.save(small_disk)
    (saved,) = checkpoints.states(small_disk / checkpoints.FOLDER)
    num_free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(b"x" * (num_free - 4096))

    state.epoch, state.num_steps = 4, 40
    with pytest.raises(WriteFailed, match="in epoch 5 could not be written") as caught:
        state.save(small_disk)
    assert "one before is intact" in caught.value.hint
    assert checkpoints.is_whole(saved)
    assert names(saved.parent) == [saved.name], "no draft is left"
    again = make_state(1000)
    assert again.restore(small_disk)
    assert again.epoch == 3
    assert torch.equal(again.model.weight, state.model.weight)

    (small_disk / "filler").unlink()
    state.save(small_disk)
    assert again.restore(small_disk)
    assert again.epoch == 4


@pytest.mark.parametrize("num_free", [0, 4096, 8192, 16384])
def test_a_text_on_a_full_disk(small_disk: Path, num_free: int) -> None:
    write_text(small_disk / "log.csv", "old")
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize - num_free))
    with pytest.raises(OSError, match="No space left"):
        write_text(small_disk / "log.csv", "new" * 10_000)
    assert (small_disk / "log.csv").read_text() == "old"
    assert names(small_disk) == ["filler", "log.csv"]


@pytest.mark.parametrize(
    ("number", "is_the_users"),
    [
        (errno.ENOSPC, True),
        (errno.EDQUOT, True),
        (errno.EACCES, True),
        (errno.EROFS, True),
        (errno.EISDIR, True),
        (errno.ENOENT, False),
        (errno.EBADF, False),
        (errno.EMFILE, False),
    ],
)
def test_only_failures_that_a_user_can_remedy_count_as_refused(number: int, is_the_users: bool) -> None:
    assert is_refused(OSError(number, os.strerror(number))) is is_the_users


def test_another_failure_to_save_is_not_blamed_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a mistake of the code")

    monkeypatch.setattr(checkpoints, "write_checkpoint", fail)
    with pytest.raises(RuntimeError, match="a mistake of the code"):
        make_state(4).save(tmp_path)


def test_torchs_own_error_for_a_full_disk_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.save({"weights": torch.zeros(300_000)}, "/dev/full")
    assert checkpoints.is_refused(caught.value)


def test_drafts_are_removed_whether_files_or_folders(tmp_path: Path) -> None:
    (tmp_path / "rows" / ".a.1.draft" / ".b.1.2.draft").mkdir(parents=True)
    (tmp_path / "rows" / ".c.1.2.draft").write_text("half")
    (tmp_path / "rows" / "whole").write_text("whole")
    remove_drafts(tmp_path)
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["whole"]
