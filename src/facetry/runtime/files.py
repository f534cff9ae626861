"""Files and folders that are either wholly there or not at all."""

import fcntl
import glob
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to, which takes its place at the end; on failure it goes.

    What stood at `path` before is intact until the new file is safely on disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.draft")
    try:
        yield draft
        draft.chmod(0o666 & ~_UMASK)  # some writers make their files private
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove what a process that was killed while writing left in `folder` and below."""
    for draft in folder.rglob(".*.draft"):
        draft.unlink()


@contextmanager
def holding(folder: Path) -> Iterator[bool]:
    """Hold `folder` for this process; gives False where another process holds it already."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with writing(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def writing_folder(folder: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """A folder beside `folder` to fill, which takes its place at the end; on failure it goes.

    What a process that was killed left of one goes first. See `place_folder` for `is_durable`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.draft/"):
        with holding(left) as is_left:
            if is_left:
                shutil.rmtree(left, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    try:
        with holding(draft):
            yield draft
            place_folder(draft, folder, is_durable=is_durable)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def link_folder(source: Path, folder: Path) -> None:
    """A second place for a finished folder.

    Its files take no more room on the disk, unless that knows no hard links.
    """

    def link(file: str, place: str) -> None:
        try:
            os.link(file, place)
        except OSError:  # no hard links here
            shutil.copy2(file, place)

    with writing_folder(folder) as draft:
        shutil.copytree(source, draft, copy_function=link, dirs_exist_ok=True)


def place_folder(draft: Path, folder: Path, *, is_durable: bool = True) -> None:
    """Move a finished folder to its place; an older one there is replaced.

    If `is_durable`, every file is on disk before: wanted for what took work, slow for what is many
    small files and can be made again.
    """
    if is_durable:
        for each in sorted(draft.rglob("*")):
            sync(each)
    if folder.exists():
        old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        folder.rename(old)
        draft.rename(folder)
        shutil.rmtree(old)
    else:
        draft.rename(folder)
    sync(folder.parent)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the system put a file or a folder's entries on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """The files below `folder` that are `wanted`, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and wanted(path))
