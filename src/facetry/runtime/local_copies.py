"""Copies of objects on this machine, for what only files can be read by: tables, models.

They are kept in the user's cache folder under the address and the ETags that they were copied with, so
that all processes of a machine share one copy and a changed object is copied anew. A copy that no
process uses is removed when a newer one of the same address is made.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from facetry.errors import WriteFailed
from facetry.runtime.files import hold_lock, is_refused, try_lock, write_text, writing_folder
from facetry.runtime.objects import ObjectPath

_ORIGIN: Final = ".origin.json"
_NUM_HEX: Final = 32

_held: dict[Path, int] = {}  # handles of the copies that this process uses, locked until it ends


def local_file(path: Path) -> Path:
    """A file as it is; of an object, a copy with the same name.

    Raises:
        FileNotFoundError: there is no such object.
        StorageUnavailable: the bucket cannot be used.
        WriteFailed: there is no room for the copy.
    """
    if not isinstance(path, ObjectPath):
        return path
    etag = path.etag()
    if etag is None:
        raise FileNotFoundError(f"There is no object {path}.")
    return _copied(path, etag, path.download)


def local_folder(path: Path) -> Path:
    """A folder as it is; of the objects below an address, a copy of all.

    Raises:
        StorageUnavailable, WriteFailed: as in `local_file`.
    """
    if not isinstance(path, ObjectPath):
        return path
    found = sorted(path.below(), key=lambda each: each.name)

    def fill(folder: Path) -> str:
        folder.mkdir()
        for each in found:
            file = folder / each.name
            file.parent.mkdir(parents=True, exist_ok=True)
            (path / each.name).download(file)
        return state

    state = json.dumps([(each.name, each.size, each.etag) for each in found])
    return _copied(path, state, fill)


def origin_of(copy: Path) -> tuple[ObjectPath, str] | None:
    """The object that a file is a copy of, and the ETag that it had; None for any other file."""
    try:
        address, state = json.loads((copy.parent / _ORIGIN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return ObjectPath(address), state


def _copied(path: ObjectPath, state: str, copy: Callable[[Path], str]) -> Path:
    """The copy of what is in this state; `copy` makes one, if it is not there, and says its state."""
    place = _cache() / _digest(str(path))
    version = place / _digest(state)
    with _explaining_lack_of_room():
        place.mkdir(parents=True, exist_ok=True)
        with hold_lock(place):  # another process may be copying it: it is waited for
            if not version.exists():
                with writing_folder(version, is_durable=False) as draft:
                    state = copy(draft / path.name)
                    write_text(draft / _ORIGIN, json.dumps([str(path), state]))
            _hold(version)
            for other in place.iterdir():
                if other != version:
                    _remove_unused(other)
    return version / path.name


def _cache() -> Path:
    """The folder of copies: `XDG_CACHE_HOME` says where, as for other programs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "facetry" / "objects"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NUM_HEX]


def _hold(version: Path) -> None:
    """Have no other process remove a copy while this one lives."""
    if version not in _held:
        _held[version] = os.open(version, os.O_RDONLY)
        fcntl.flock(_held[version], fcntl.LOCK_SH)


def _remove_unused(version: Path) -> None:
    with try_lock(version) as is_unused:
        if is_unused:
            shutil.rmtree(version, ignore_errors=True)


@contextmanager
def _explaining_lack_of_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not is_refused(error):
            raise
        raise WriteFailed(
            f"Objects cannot be copied to {_cache()}: {error.strerror}.",
            hint="Make room there, or let XDG_CACHE_HOME name another folder.",
        ) from error
