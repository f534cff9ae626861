"""What of a folder of predictions stands, and what is added to it, part by part."""

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
    Part,
    is_whole,
    read_manifest,
    read_part,
    write_part,
)
from facetry.batch.previous import PreviousResults
from facetry.batch.shard import Scored
from facetry.errors import FolderDamaged
from facetry.runtime.files import remove_drafts
from facetry.runtime.progress import Reporter

_INDEX = ".ids.draft"  # a draft: what a kill leaves of it goes


class RunStore:
    """The parts of one run into `folder`; the manifest on disk is never behind what it says.

    Parts that an unfinished run left stand if model, table and shards are the same. Those of a
    finished run, or of another table, are `earlier` ones, as long as the model is the same.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.num_standing = sum(part.num_rows for part in manifest.parts)

    @classmethod
    def open(cls, folder: Path, identity: Identity, reporter: Reporter) -> "RunStore":
        """Begin a run, or go on with one.

        Raises:
            FolderError: the folder holds something else.
        """
        found = read_manifest(folder)
        parts: tuple[Part, ...] = ()
        earlier: tuple[Part, ...] = ()
        if found and found.identity.model != identity.model:
            reporter.say(f"Another model filled {folder}: everything is predicted anew.")
        elif found and found.identity == identity and not found.is_finished:
            parts, earlier = found.parts, found.earlier
        elif found:
            earlier = (*found.earlier, *found.parts)
        parts, earlier = (_whole(folder, each, reporter) for each in (parts, earlier))
        manifest = Manifest(identity=identity, parts=parts, earlier=earlier)
        manifest.save(folder)
        store = cls(folder, manifest)
        store.remove_strays()
        if store.num_standing:
            reporter.say(f"{store.num_standing:,} rows stand from the run that was stopped.")
        if manifest.earlier:
            reporter.say("Rows that have not changed since the last run are taken over.")
        return store

    def stands(self, number: int) -> bool:
        """Whether a shard is done."""
        return any(part.number == number for part in self.manifest.parts)

    def keep(self, number: int, scored: Scored) -> None:
        """Put a scored shard on disk and on the list."""
        part = write_part(self.folder, number, scored.rows, num_taken=scored.num_taken)
        parts = sorted([*self.manifest.parts, part], key=lambda each: each.number)
        self._save(self.manifest.model_copy(update={"parts": tuple(parts)}))

    def earlier(self) -> PreviousResults:
        """What earlier runs have scored."""
        read = partial(read_part, self.folder)
        return PreviousResults(self.manifest.earlier, read, self.folder / PARTS / _INDEX)

    def rows(self) -> Iterator[pl.DataFrame]:
        """All parts in order.

        Raises:
            FolderDamaged: one is no longer whole.
        """
        for part in self.manifest.parts:
            rows = read_part(self.folder, part)
            if rows is None:
                raise FolderDamaged(
                    f"{self.folder / PARTS / part.name} was damaged or removed meanwhile.",
                    hint="The same command makes it anew.",
                )
            yield rows

    def statuses(self) -> Counter[str]:
        """How many rows have which status."""
        counts: Counter[str] = Counter()
        for part in self.manifest.parts:
            counts.update(part.statuses)
        return counts

    def finish(self) -> None:
        """Mark the run as done; parts of earlier runs go."""
        self._save(self.manifest.model_copy(update={"is_finished": True, "earlier": ()}))
        self.remove_strays()

    def remove_strays(self) -> None:
        """Remove files that are on no list: half written, replaced, or left by another model."""
        remove_drafts(self.folder / PARTS)
        for name in NAMES:
            for draft in self.folder.glob(f".{name}.*.draft"):
                draft.unlink()
        listed = {part.name for part in (*self.manifest.parts, *self.manifest.earlier)}
        for path in (self.folder / PARTS).glob("part-*.parquet"):
            if path.name not in listed:
                path.unlink()

    def _save(self, manifest: Manifest) -> None:
        manifest.save(self.folder)
        self.manifest = manifest


def _whole(folder: Path, parts: tuple[Part, ...], reporter: Reporter) -> tuple[Part, ...]:
    """The parts whose files are as they were written; tells of others."""
    whole = tuple(part for part in parts if is_whole(folder, part))
    for part in parts:
        if part not in whole:
            reporter.say(f"{part.name} is damaged: what it held is predicted anew.")
    return whole
