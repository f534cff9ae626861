"""Opens or resumes a run in a folder of predictions, and adds to it part by part."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from facetry.batch.manifest import (
    NAMES,
    PARTS,
    Identity,
    Manifest,
    ManifestFile,
    Part,
    is_intact,
    read_part,
    read_rows,
    write_part,
)
from facetry.batch.previous import PreviousResults
from facetry.batch.shard import Scored
from facetry.runtime.files import remove_drafts, temporary_folder
from facetry.runtime.objects import ObjectPath
from facetry.runtime.progress import Reporter

_INDEX = ".ids.draft"  # named as a draft, so that one left by a killed process is removed


class RunStore:
    """The parts of one run in `folder`; every change is written to the manifest on disk at once.

    The parts of an unfinished run count as done if model, table and shard size are the same. Those of
    a finished run, or of another table, are `earlier` ones, whose unchanged rows are reused if the
    model is the same.
    """

    def __init__(self, file: ManifestFile, manifest: Manifest) -> None:
        self.folder = file.folder
        self.manifest = manifest
        self._file = file
        self._save(manifest)
        self.num_done_before = sum(part.num_rows for part in manifest.parts)

    @classmethod
    def open(cls, folder: Path, identity: Identity, reporter: Reporter) -> "RunStore":
        """Begin a run, or resume one.

        Raises:
            FolderError: the folder was made by something else.
        """
        file = ManifestFile(folder)
        found = file.read()
        parts: tuple[Part, ...] = ()
        earlier: tuple[Part, ...] = ()
        if found and found.identity.model != identity.model:
            reporter.say(f"Another model filled {folder}: everything is predicted anew.")
        elif found and found.identity == identity and not found.is_finished:
            parts, earlier = found.parts, found.earlier
        elif found:
            earlier = (*found.earlier, *found.parts)
        parts, earlier = (_intact(folder, each, reporter) for each in (parts, earlier))
        store = cls(file, Manifest(identity=identity, parts=parts, earlier=earlier))
        store.remove_unlisted()
        if store.num_done_before:
            reporter.say(f"{store.num_done_before:,} rows were already done when the run was stopped.")
        if store.manifest.earlier:
            reporter.say("Rows that have not changed since the last run are reused.")
        return store

    def is_done(self, number: int) -> bool:
        """Whether a shard is done."""
        return any(part.number == number for part in self.manifest.parts)

    def add(self, number: int, scored: Scored) -> None:
        """Write a scored shard to disk and enter it in the manifest."""
        part = write_part(self.folder, number, scored.rows, num_reused=scored.num_reused)
        parts = sorted([*self.manifest.parts, part], key=lambda each: each.number)
        self._save(self.manifest.model_copy(update={"parts": tuple(parts)}))

    def previous_results(self) -> PreviousResults:
        """The rows of previous runs."""
        read = partial(read_part, self.folder)
        is_object = isinstance(self.folder, ObjectPath)
        index = temporary_folder() / _INDEX if is_object else self.folder / PARTS / _INDEX
        return PreviousResults(self.manifest.earlier, read, index)

    def rows(self) -> Iterator[pl.DataFrame]:
        """All parts in order.

        Raises:
            FolderDamaged: one is missing or damaged.
        """
        yield from read_rows(self.folder)

    def statuses(self) -> Counter[str]:
        """How many rows have which status."""
        counts: Counter[str] = Counter()
        for part in self.manifest.parts:
            counts.update(part.statuses)
        return counts

    def finish(self) -> None:
        """Mark the run as finished, and remove the parts of previous runs."""
        self._save(self.manifest.model_copy(update={"is_finished": True, "earlier": ()}))
        self.remove_unlisted()

    def remove_unlisted(self) -> None:
        """Remove files that the manifest does not list: half written, replaced, or another model's."""
        if not isinstance(self.folder, ObjectPath):  # an object is there whole or not at all
            self._remove_drafts()
        listed = {part.name for part in (*self.manifest.parts, *self.manifest.earlier)}
        for path in (self.folder / PARTS).glob("part-*.parquet"):
            if path.name not in listed:
                path.unlink()

    def _remove_drafts(self) -> None:
        remove_drafts(self.folder / PARTS)
        for name in NAMES:
            for draft in self.folder.glob(f".{name}.*.draft"):
                draft.unlink()

    def _save(self, manifest: Manifest) -> None:
        self._file.save(manifest)
        self.manifest = manifest


def _intact(folder: Path, parts: tuple[Part, ...], reporter: Reporter) -> tuple[Part, ...]:
    """The parts whose files are neither missing nor damaged; reports the others."""
    intact = tuple(part for part in parts if is_intact(folder, part))
    for part in parts:
        if part not in intact:
            reporter.say(f"{part.name} is missing or damaged: its rows are predicted again.")
    return intact
