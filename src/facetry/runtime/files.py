"""Files and folders written atomically, so that they are complete or absent; folder locks; checksums.

A file or folder is written under a temporary name (its draft), then moved to its final name.
"""

import errno
import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from facetry.errors import WriteFailed
from facetry.runtime.objects import ObjectPath

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY})

WRITE_HINT: Final = "Name a folder that you may write to, on a disk with room."

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A temporary file to write to, which replaces `path` at the end; it is removed on failure.

    An older file at `path` is intact until the new one is safely on disk. An object is written from a
    file in `temporary_folder`.
    """
    if isinstance(path, ObjectPath):
        with _uploading(path) as draft:
            yield draft
        return
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


@contextmanager
def _uploading(path: ObjectPath) -> Iterator[Path]:
    draft = temporary_folder() / f"{path.name}.{threading.get_ident()}.draft"
    try:
        yield draft
        path.upload(draft)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder` and below."""
    for draft in list(folder.rglob(".*.draft")):  # files, and folders with drafts in them
        remove(draft)


@contextmanager
def try_lock(folder: Path) -> Iterator[bool]:
    """Lock `folder` for this process while the context lasts; False if another process has locked it.

    Objects cannot be locked: of what is written there, one object is replaced only if nobody else has.
    """
    if isinstance(folder, ObjectPath):
        yield True
        return
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


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Lock `folder` while the context lasts, against other processes and threads; waits for the lock."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file, or an object, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, or an object, atomically."""
    if isinstance(path, ObjectPath):
        path.write_bytes(content)
        return
    with writing(path) as draft:
        draft.write_bytes(content)


@contextmanager
def writing_folder(folder: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """A temporary folder to fill, which replaces `folder` at the end; it is removed on failure.

    Temporary folders that killed processes left are removed first. See `place_folder` for `is_durable`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent, folder.name)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    try:
        with try_lock(draft):
            yield draft
            place_folder(draft, folder, is_durable=is_durable)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_abandoned(parent: Path, name: str | None = None) -> None:
    """Remove temporary folders that killed processes left, those for one `name` or for any."""
    for left in parent.glob(f".{'*' if name is None else glob.escape(name)}.*.draft/"):
        with try_lock(left) as is_abandoned:
            if is_abandoned:
                shutil.rmtree(left, ignore_errors=True)


def link_folder(source: Path, folder: Path) -> None:
    """Make `folder` a copy of the finished folder `source`.

    Files are hard links, which take no room on the disk, or copies where there are no hard links.
    """

    def link(file: str, target: str) -> None:
        try:
            os.link(file, target)
        except OSError:  # no hard links here
            shutil.copy2(file, target)

    with writing_folder(folder) as draft:
        shutil.copytree(source, draft, copy_function=link, dirs_exist_ok=True)


def place_folder(draft: Path, folder: Path, *, is_durable: bool = True) -> None:
    """Rename a finished folder to `folder`; an older one is replaced.

    If `is_durable`, every file is flushed to disk first: for what is costly to make, but slow for many
    small files that can be made again.
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


def temporary_folder() -> Path:
    """A folder of this process, which is removed when it exits."""
    return Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Its own finaliser removes it at exit, if somebody has kept it until then."""
    return tempfile.TemporaryDirectory(prefix="facetry-")


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_refused(error: OSError) -> bool:
    """Whether a file could not be written for a reason that the user can remove.

    That is a full disk, a missing permission, or a file or folder in its place. Any other reason is a
    bug, and is not to be shown as the user's mistake.
    """
    return error.errno in DISK_FULL | _DENIED | _IN_THE_WAY


@contextmanager
def explaining_refusal(path: Path) -> Iterator[None]:
    """Turn an error of writing `path`, or below it, into one that names it and says what to do.

    Raises:
        WriteFailed: it could not be written for a reason that the user can remove (see `is_refused`).
    """
    try:
        yield
    except OSError as error:
        if not is_refused(error):
            raise
        raise WriteFailed(
            f"{path} cannot be written to: {error.strerror or error}.", hint=WRITE_HINT
        ) from error


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileVersion(NamedTuple):
    """A file as it is now: what is cached by it is read again once the file has changed."""

    path: Path
    mtime_ns: int
    size: int


def file_version(path: Path) -> FileVersion:
    """The version of a file that exists."""
    status = path.stat()
    return FileVersion(path, status.st_mtime_ns, status.st_size)


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    """The files below `folder` that are `wanted`, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and wanted(path))
