"""Resumable output folders: a job that was stopped is resumed by the same command.

A job's folder has a `job.json`, which is written before anything else. It names the command that made
the folder and its identity: all that the content depends on. The same command resumes a folder of the
same identity and refuses any other. As long as the folder has no results in it, the job may start over
with other settings.

Some commands work in `OUT.partial`, which is renamed to `OUT` at the end, so that a folder called OUT is
always finished. Others work in OUT itself.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from facetry.errors import FolderInUse, FolderMismatch, FolderOccupied
from facetry.runtime.documents import parse_json
from facetry.runtime.files import place_folder, remove, remove_drafts, try_lock, write_text

JOB: Final = "job.json"
FORMAT: Final = 2
"""The version of `job.json`'s format. Facetry 0.1.0 wrote none, and only the identity."""

_FIRST_VERSION = "0.1.0"

Identity = Mapping[str, Any]
"""What a folder's content depends on, as JSON values; the keys are shown in messages."""


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """What all folders that one command makes have in common.

    `preliminary` names files, at any depth, that are written before the first result and may be lost. A
    job that works in OUT itself has `result`, the file that exists once the job is complete.
    """

    command: str
    preliminary: frozenset[str] = frozenset()
    works_in_place: bool = False
    result: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A folder to work in, which becomes `out` when the work is finished."""

    out: Path
    folder: Path
    is_finished: bool = False

    def finish(self) -> None:
        """Rename the folder to `out`, once all its files are flushed to disk.

        Raises:
            FolderOccupied: something else has been written to `out` meanwhile.
        """
        if self.out.exists():
            raise FolderOccupied(
                f"{self.out} was made by something else while {self.folder} was written.",
                hint="Move it away; the same command then finishes.",
            )
        place_folder(self.folder, self.out)


@contextmanager
def open_or_resume(
    out: Path,
    identity: Identity,
    kind: JobKind,
    *,
    facts: Identity | None = None,
    upgrade: Callable[[dict[str, Any]], Identity] = dict,
    owner: Path | None = None,
) -> Iterator[Work]:
    """Open and lock the folder of a job: a new one, one to resume, or a finished one.

    `facts` are written to `job.json` along with the identity, but not compared. `upgrade` converts an
    identity that an earlier version wrote to today's form, so that the two can be compared. Messages
    show `owner` instead of a folder that is part of another job's folder.

    Raises:
        FolderInUse: another process has locked the folder.
        FolderOccupied: the folder was made by something else.
        FolderMismatch: it was made with another identity, or by an older version, which alone can
            finish it.
    """
    folder = out if kind.works_in_place else partial_folder(out)
    job = _Job(
        folder=folder, kind=kind, identity=identity, facts=facts or {}, upgrade=upgrade, owner=owner
    )
    finished = Work(out=out, folder=out, is_finished=True)
    if folder != out and out.exists():
        job.check(out)
        yield finished
        return
    if folder.exists() and not folder.is_dir():
        raise folder_occupied(folder, kind)
    with lock(folder):
        if folder != out and out.exists():  # finished by another process just now
            with suppress(OSError):
                folder.rmdir()
            job.check(out)
            yield finished
        else:
            job.begin_or_resume()
            yield Work(out=out, folder=folder)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock `folder` so that no other process writes it.

    Raises:
        FolderInUse: another process has locked it.
    """
    with try_lock(folder) as is_locked:
        if not is_locked:
            raise FolderInUse(f"{folder} is being written by another process.", hint="Wait for it.")
        yield


def folder_occupied(folder: Path, kind: JobKind, held: Sequence[str] = ()) -> FolderOccupied:
    """The error for a folder that the command has not made, with some of the files `held` in it.

    Its hint does not say to delete the folder, as the files may be of value.
    """
    shown = f": it holds {' and '.join(sorted(held)[:3])}" if held else ""
    return FolderOccupied(
        f"{folder} exists and was not made by `facetry {kind.command}`{shown}.",
        hint="Choose another --out.",
    )


def read_record(folder: Path) -> dict[str, Any]:
    """What `job.json` in `folder` says; empty if it is missing or cannot be read."""
    try:
        found = parse_json((folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def partial_folder(out: Path) -> Path:
    """Where a job works whose folder is renamed to `out` at the end."""
    return out.with_name(f"{out.name}.partial")


def stopped_hint(path: Path) -> str:
    """A hint if `path` is missing because the job that makes it was stopped; else ""."""
    for each in (path, *path.parents):
        if each.exists():
            break
        if (folder := partial_folder(each)).is_dir():
            return f"{folder} exists: its job was stopped; run the same command again to resume it."
    return ""


@dataclass(frozen=True, kw_only=True)
class _JobRecord:
    """What a `job.json` says; `version` is that of the Facetry that wrote it."""

    identity: Identity
    format: int
    version: str


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A job and the folder it wants to work in: the arguments of `open_or_resume`."""

    folder: Path
    kind: JobKind
    identity: Identity
    facts: Identity
    upgrade: Callable[[dict[str, Any]], Identity]
    owner: Path | None

    def begin_or_resume(self) -> None:
        """Begin a new folder, or check that this job may resume it; remove half-written files.

        Nothing is changed unless the folder is empty or was made by this kind of job.
        """
        if not (self.folder / JOB).exists():
            names = [each.name for each in self.folder.iterdir()]
            if held := [name for name in names if not fnmatchcase(name, f".{JOB}.*.draft")]:
                raise folder_occupied(self.folder, self.kind, held)
            self.begin()
        elif self.has_work():
            self.check(self.folder)
        else:
            found = self.read(self.folder)
            if found.format < FORMAT or self.differing(found):
                self.begin()
        remove_drafts(self.folder)

    def begin(self) -> None:
        """Start over: what an attempt with other settings left is removed before its `job.json`."""
        for each in self.folder.iterdir():
            if each.name != JOB:
                remove(each)
        own = {"command": self.kind.command, "format": FORMAT, "facetry": version("facetry")}
        write_text(self.folder / JOB, json.dumps({**own, **self.identity, **self.facts}, indent=1))

    def has_work(self) -> bool:
        """Whether results would be lost if the job started over."""
        known = {JOB, *self.kind.preliminary}
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return any(path.name not in known and not path.match(".*.draft") for path in files)

    def check(self, folder: Path) -> None:
        """Refuse a folder with another identity, or one that this version cannot resume.

        Raises:
            FolderMismatch: it is one of these.
            FolderOccupied: it was made by another command.
        """
        found = self.read(folder)
        shown = self.owner or folder
        result = self.kind.result
        is_finished = folder != self.folder or bool(result and (folder / result).is_file())
        if found.format < FORMAT and not is_finished:
            raise FolderMismatch(
                f"{shown} was begun by Facetry {found.version}, and this is {version('facetry')}.",
                hint=f"Finish it with Facetry {found.version}, or choose another --out, or delete that "
                "folder.",
            )
        if differing := self.differing(found):
            raise FolderMismatch(
                f"{shown} was made with another {' and '.join(differing)}.",
                hint="Choose another --out, or delete that folder.",
            )

    def read(self, folder: Path) -> _JobRecord:
        """Read a folder's `job.json`.

        Raises:
            FolderOccupied: it was made by another command.
            FolderMismatch: it was made by a newer version.
        """
        content = read_record(folder)
        command = content.pop("command", None)
        file_format = content.pop("format", 1)
        written_by = content.pop("facetry", _FIRST_VERSION)
        try:
            identity = self.upgrade(content)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise folder_occupied(folder, self.kind) from None
        has_same_keys = identity.keys() - self.facts.keys() == self.identity.keys()
        if command != self.kind.command and (command or not has_same_keys):
            raise folder_occupied(folder, self.kind)
        if file_format > FORMAT:
            raise FolderMismatch(
                f"{folder} is of format {file_format}; this version reads up to {FORMAT}.",
                hint="Update Facetry, or choose another --out.",
            )
        return _JobRecord(identity=identity, format=file_format, version=written_by)

    def differing(self, found: _JobRecord) -> list[str]:
        """The keys in which a folder's identity differs from this job's."""
        wanted = json.loads(json.dumps(dict(self.identity)))  # as it reads from a file
        return [key for key, value in wanted.items() if found.identity.get(key) != value]
