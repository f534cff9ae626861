"""What files there are in a photo folder, or below an address: asked for by name, or by how they begin.

A folder on disk is asked file by file, and listed where that does not help. Objects are listed once,
into a file on this machine, as ten million names do not belong in memory; a listing is a thousand of
them for one request.
"""

import bisect
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import scandir
from pathlib import Path
from typing import Final, Protocol, final
from uuid import uuid4

from facetry.runtime.files import temporary_folder
from facetry.runtime.objects import ObjectPath, StoredObject
from facetry.runtime.prefetch import batched
from facetry.runtime.progress import SILENT, Reporter

_LAST: Final = "\U0010ffff"  # sorts behind all names
_ROWS_AT_ONCE: Final = 1000
_INSERT: Final = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)"
_TABLE: Final = (
    "CREATE TABLE files (folder TEXT, folded TEXT, name TEXT, size INT, etag TEXT,"
    " PRIMARY KEY (folder, folded, name)) WITHOUT ROWID"
)


class PhotoFiles(Protocol):
    """The files below a photo folder; names are relative to it, with slashes."""

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        ...

    def beginning(self, inner: str, start: str) -> Iterator[str]:
        """The files in the folder `inner` whose names begin so, in any letter case, in order."""
        ...

    def state(self, paths: Sequence[Path]) -> str:
        """A hash that changes with the content of files; "" if only reading tells, or none is there."""
        ...


def photo_files(folder: Path) -> PhotoFiles:
    """The files below a folder or an address."""
    return ObjectFiles(folder) if isinstance(folder, ObjectPath) else FolderFiles(folder)


@final
@dataclass(frozen=True, slots=True)
class FolderFiles:
    """Files on disk; a folder is listed once."""

    folder: Path
    _listed: dict[str, Sequence[str]] = field(default_factory=dict, repr=False, compare=False)

    def has(self, name: str) -> bool:
        """See `PhotoFiles`."""
        return is_file(self.folder / name)

    def beginning(self, inner: str, start: str) -> Iterator[str]:
        """See `PhotoFiles`."""
        names, start = self._names_in(inner), start.casefold()
        for name in names[bisect.bisect_left(names, start, key=str.casefold) :]:
            if not name.casefold().startswith(start):
                return
            yield name

    def state(self, paths: Sequence[Path]) -> str:  # noqa: ARG002 - nothing is known without reading
        """See `PhotoFiles`."""
        return ""

    def _names_in(self, inner: str) -> Sequence[str]:
        """The files in a folder, sorted without regard to letter case."""
        if inner not in self._listed:
            try:
                with scandir(self.folder / inner) as entries:
                    names = sorted((each.name for each in entries if each.is_file()), key=str.casefold)
            except (OSError, ValueError):  # no such folder, or a name that no folder can have
                names = []
            self._listed[inner] = names
        return self._listed[inner]


@final
class ObjectFiles:
    """Objects below an address, as they were when they were first asked for."""

    def __init__(self, address: ObjectPath) -> None:
        self.address = address

    def list_all(self, reporter: Reporter = SILENT) -> None:
        """List the objects now, rather than when the first is asked for.

        Raises:
            StorageUnavailable: the bucket cannot be used.
        """
        if "_listing" not in self.__dict__:
            self.__dict__["_listing"] = self._listed(reporter)

    def has(self, name: str) -> bool:
        """See `PhotoFiles`."""
        return self._find(name) is not None

    def beginning(self, inner: str, start: str) -> Iterator[str]:
        """See `PhotoFiles`."""
        start = start.casefold()
        query = "SELECT name FROM files WHERE folder = ? AND folded BETWEEN ? AND ? ORDER BY folded"
        found = self._listing.execute(query, (inner, start, start + _LAST)).fetchall()
        return (name for (name,) in found)

    def state(self, paths: Sequence[Path]) -> str:
        """See `PhotoFiles`."""
        names = [path.relative_to(self.address).as_posix() for path in paths]
        found = [(name, *each) for name in names if (each := self._find(name))]
        return hashlib.sha256(repr(found).encode()).hexdigest() if found else ""

    def _find(self, name: str) -> tuple[int, str] | None:
        """An object's size and ETag."""
        folder, _, last = name.rpartition("/")
        query = "SELECT size, etag FROM files WHERE folder = ? AND folded = ? AND name = ?"
        found: tuple[int, str] | None = self._listing.execute(
            query, (folder, last.casefold(), last)
        ).fetchone()
        return found

    @cached_property
    def _listing(self) -> sqlite3.Connection:
        return self._listed(SILENT)

    def _listed(self, reporter: Reporter) -> sqlite3.Connection:
        # Threads ask it one after the other: SQLite sees to that.
        listing = sqlite3.connect(
            temporary_folder() / f"{uuid4().hex}.db", isolation_level=None, check_same_thread=False
        )
        for line in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", _TABLE, "BEGIN"):
            listing.execute(line)
        with reporter.bar("Listing the photos", None) as advance:
            for some in batched(self.address.below(), _ROWS_AT_ONCE):
                listing.executemany(_INSERT, map(_row, some))
                advance(len(some))
        listing.execute("COMMIT")
        return listing


def _row(each: StoredObject) -> tuple[str, str, str, int, str]:
    folder, _, name = each.name.rpartition("/")
    return folder, name.casefold(), name, each.size, each.etag


def is_file(path: Path) -> bool:
    """Whether a file is there; its name may be one that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # an id too long for a file's name
        return False
