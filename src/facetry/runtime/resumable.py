"""Folders that long work is written into: begun, stopped, gone on with, finished.

A job's folder has a `job.json`, which is written before anything else. It says which command made
the folder and what its content follows from, the identity: the same command goes on with a folder of
the same identity and refuses any other. Until the folder has work in it, it may be begun anew with
other settings.

Some commands work in `OUT.partial`, which becomes `OUT` in one step at the end, so that a folder called
OUT is finished. Others work in OUT itself.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from facetry.errors import FacetryError
from facetry.runtime.files import holding, place_folder, remove, remove_drafts, write_text

JOB: Final = "job.json"
FORMAT: Final = 2
"""Of `job.json`. One without a format was written by Facetry 0.1.0, and holds the identity alone."""

_FIRST_VERSION = "0.1.0"

Identity = Mapping[str, Any]
"""What a folder's content follows from, as JSON values; the keys are used in messages."""


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """What all folders that one command makes have in common.

    `error` is raised for a folder that cannot be used. `preliminary` names files that are no work: they
    are written, at any depth, before the first result that would be missed. A job that works in OUT
    itself names the file that tells that a run was complete as its `result`.
    """

    command: str
    error: type[FacetryError]
    preliminary: frozenset[str] = frozenset()
    works_in_place: bool = False
    result: str = ""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A folder to work in, which is `out` itself once the work is finished."""

    out: Path
    folder: Path
    error: type[FacetryError]
    is_finished: bool = False

    def finish(self) -> None:
        """Give the folder its place, in one step and with all files on disk.

        Raises:
            FacetryError: something else has taken the place meanwhile.
        """
        if self.out.exists():
            raise self.error(
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
    """Hold the folder of a job: a new one, one to go on with, or a finished one.

    `facts` are written to `job.json` beside the identity and not compared. `upgrade` gives an identity
    that was read the form of today's: what an earlier version wrote is compared as well. A folder that
    is part of another job's is called by its `owner` in messages.

    Raises:
        FacetryError: of the kind's class, where the folder was made by something else, with another
            identity, or by another version that alone can finish it; where another process holds it.
    """
    folder = out if kind.works_in_place else partial_folder(out)
    claim = _Claim(
        folder=folder, kind=kind, identity=identity, facts=facts or {}, upgrade=upgrade, owner=owner
    )
    finished = Work(out=out, folder=out, error=kind.error, is_finished=True)
    if folder != out and out.exists():
        claim.check(out)
        yield finished
        return
    if folder.exists() and not folder.is_dir():
        raise foreign(folder, kind)
    with hold(folder, kind.error):
        if folder != out and out.exists():  # finished by another process just now
            with suppress(OSError):
                folder.rmdir()
            claim.check(out)
            yield finished
        else:
            claim.settle()
            yield Work(out=out, folder=folder, error=kind.error)


@contextmanager
def hold(folder: Path, error: type[FacetryError]) -> Iterator[None]:
    """Keep other processes from writing `folder`.

    Raises:
        FacetryError: of the class `error`, where another process does.
    """
    with holding(folder) as is_ours:
        if not is_ours:
            raise error(f"{folder} is being written by another process.", hint="Wait for it.")
        yield


def foreign(folder: Path, kind: JobKind, held: Sequence[str] = ()) -> FacetryError:
    """The error of a folder that the command has not made, which holds files called as in `held`.

    It does not advise to delete the folder: that is its owner's to decide.
    """
    shown = f": it holds {' and '.join(sorted(held)[:3])}" if held else ""
    return kind.error(
        f"{folder} exists and was not made by `facetry {kind.command}`{shown}.",
        hint="Choose another --out.",
    )


def read_record(folder: Path) -> dict[str, Any]:
    """What `folder` was made from; empty where that cannot be told."""
    try:
        found = json.loads((folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def partial_folder(out: Path) -> Path:
    """Where a job works that makes `out` in one step."""
    return out.with_name(f"{out.name}.partial")


def stopped_hint(path: Path) -> str:
    """Says so if `path` is not there because the job that makes it was stopped; else an empty text."""
    for place in (path, *path.parents):
        if place.exists():
            break
        if (folder := partial_folder(place)).is_dir():
            return f"{folder} is there: its job was stopped, and the same command that made it goes on."
    return ""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What a `job.json` says: see `FORMAT`. `version` of Facetry wrote it."""

    identity: Identity
    format: int
    version: str


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """One job's claim to a folder: see `open_or_resume`."""

    folder: Path
    kind: JobKind
    identity: Identity
    facts: Identity
    upgrade: Callable[[dict[str, Any]], Identity]
    owner: Path | None

    def settle(self) -> None:
        """Begin the folder, or see to it that this job may go on in it; half-written files go.

        Nothing is touched unless the folder is empty or known to be of this kind.
        """
        if not (self.folder / JOB).exists():
            names = [each.name for each in self.folder.iterdir()]
            if held := [name for name in names if not fnmatchcase(name, f".{JOB}.*.draft")]:
                raise foreign(self.folder, self.kind, held)
            self.begin()
        elif self.has_work():
            self.check(self.folder)
        else:
            found = self.read(self.folder)
            if found.format < FORMAT or self.differing(found):
                self.begin()
        remove_drafts(self.folder)

    def begin(self) -> None:
        """Begin anew: what an attempt with other settings left goes before its `job.json` does."""
        for each in self.folder.iterdir():
            if each.name != JOB:
                remove(each)
        own = {"command": self.kind.command, "format": FORMAT, "facetry": version("facetry")}
        write_text(self.folder / JOB, json.dumps({**own, **self.identity, **self.facts}, indent=1))

    def has_work(self) -> bool:
        """Whether there is anything that would be lost if the folder were begun anew."""
        known = {JOB, *self.kind.preliminary}
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return any(path.name not in known and not path.match(".*.draft") for path in files)

    def check(self, folder: Path) -> None:
        """Refuse a folder with another identity, and what this version cannot go on with."""
        found = self.read(folder)
        shown = self.owner or folder
        result = self.kind.result
        is_finished = folder != self.folder or bool(result and (folder / result).is_file())
        if found.format < FORMAT and not is_finished:
            raise self.kind.error(
                f"{shown} was begun by Facetry {found.version}, and this is {version('facetry')}.",
                hint=f"Finish it with Facetry {found.version}, or choose another --out, or delete that "
                "folder.",
            )
        if differing := self.differing(found):
            raise self.kind.error(
                f"{shown} was made with another {' and '.join(differing)}.",
                hint="Choose another --out, or delete that folder.",
            )

    def read(self, folder: Path) -> _Found:
        """What is known of a folder.

        Raises:
            FacetryError: it is of another kind, or of a newer version.
        """
        content = read_record(folder)
        command = content.pop("command", None)
        file_format = content.pop("format", 1)
        maker = content.pop("facetry", _FIRST_VERSION)
        try:
            identity = self.upgrade(content)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise foreign(folder, self.kind) from None
        is_alike = identity.keys() - self.facts.keys() == self.identity.keys()
        if command != self.kind.command and (command or not is_alike):
            raise foreign(folder, self.kind)
        if file_format > FORMAT:
            raise self.kind.error(
                f"{folder} is of format {file_format}; this version reads up to {FORMAT}.",
                hint="Update Facetry, or choose another --out.",
            )
        return _Found(identity=identity, format=file_format, version=maker)

    def differing(self, found: _Found) -> list[str]:
        """The keys in which an identity is another than the wanted one."""
        wanted = json.loads(json.dumps(dict(self.identity)))  # as it would be read
        return [key for key, value in wanted.items() if found.identity.get(key) != value]
