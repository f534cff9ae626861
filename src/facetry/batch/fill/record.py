"""The record of what fills have written to a file: in a folder beside it, called FILE.fill.

By it a fill knows which cells are its own and which a person has changed since, and can take its own
back. `cells.parquet` has a row for each cell, keyed by product and column, as people sort and cut
tables; `fill.json` says which model wrote, when, at which precision, and which columns were added.
`decisions.parquet` has the cells that a promise was asked for: those that were filled and those that
were left open.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.batch.fill.config import Added
from facetry.batch.outputs import ParquetAppender
from facetry.catalogue.scan import POLARS_ERRORS
from facetry.confidence.fill_audit import Promised
from facetry.errors import FolderDamaged
from facetry.runtime.files import sha256, write_text, writing

CELLS: Final = "cells.parquet"
DECISIONS: Final = "decisions.parquet"
FILLS: Final = "fill.json"

UNDO: Final = "undo"
"""The source of a fill that takes back what earlier ones wrote."""

SCHEMA: Final = pl.Schema(
    {
        "id": pl.String(),
        "column": pl.String(),
        "filled": pl.String(),
        "raw": pl.String(),
        "shown_confidence": pl.Float32(),
        "shown_source": pl.String(),
        "fill": pl.Int32(),
    }
)
"""A cell that a fill wrote: what it wrote, what was there before, and the number of the fill.

A cell that was taken back has a second row, of a later fill, with null for what it wrote.
"""

DECISION: Final = pl.Schema(
    {
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
        "old": pl.String(),
        "confidence": pl.Float32(),
        "action": pl.String(),
        "fill": pl.Int32(),
    }
)
"""What was decided about a cell: the model's value, what the table had, and the number of the fill."""

_SCHEMAS: Final = {CELLS: SCHEMA, DECISIONS: DECISION}
_JOINED: Final = ("filled", "raw", "shown_confidence", "shown_source")
# A cell keeps its key if a text among the ids turns 7 into "7.0", or a column changes its letter case.
_ID = pl.col("id").cast(pl.String).str.replace(r"^(-?\d{1,15})\.0$", "$1")
_KEY = pl.struct(_ID, pl.col("column").str.to_lowercase()).hash()
_NUM_ROWS = 1 << 20  # of the record in memory as texts at one time

AddCells = Callable[[pl.DataFrame], None]
"""Adds cells to the record that is written; a frame that has the columns of the file's schema."""


class Fill(BaseModel):
    """One fill: SHA-256 sums of the table it read, of the file before ("" for none) and after.

    If a person `has_changed` the file by then, later fills begin from it, never again from the table.
    `when` is a time in ISO 8601, `promise` under which the cells were filled or left open, if any.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    table: str
    before: str
    after: str
    has_changed: bool = False
    added: tuple[Added, ...] = ()
    when: str = ""
    promise: Promised | None = None


class _Fills(BaseModel):
    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    fills: tuple[Fill, ...]


def fill_folder(file: Path) -> Path:
    """The folder with the record of a file."""
    return file.with_name(f"{file.name}.fill")


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """What was filled in one file, as its folder says.

    `index` has a row for each cell, that of the last fill, ordered by `key`, a hash of product and
    column: some thirty bytes of memory for each cell. `stored` is the file it was read from.
    `abandoned` is a fill that was recorded, but whose file was never put in place.
    """

    fills: tuple[Fill, ...] = ()
    index: pl.DataFrame | None = None
    stored: Path | None = None
    abandoned: Fill | None = None

    @property
    def added(self) -> tuple[Added, ...]:
        """The columns that fills have added to the table."""
        return tuple(dict.fromkeys(each for fill in self.fills for each in fill.added))

    def join(self, cells: pl.DataFrame) -> pl.DataFrame:
        """Cells with what the record says of each; null for cells that no fill wrote."""
        if self.index is None or self.index.is_empty():
            nothing = (pl.lit(None, SCHEMA[name]).alias(name) for name in _JOINED)
            return cells.with_columns(*nothing)
        wanted = cells.select(_KEY).to_series().to_numpy()
        places = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        is_found = pl.Series(self._keys[places] == wanted)
        found = self.index.select(pl.col(name).gather(places).cast(SCHEMA[name]) for name in _JOINED)
        return cells.hstack(found.select(pl.when(is_found).then(pl.col(name)) for name in _JOINED))

    @contextmanager
    def extended(self, folder: Path, name: str = CELLS) -> Iterator[AddCells]:
        """Write one of the record's two tables of cells, and those that the caller adds.

        The file replaces the stored one at the end of the context; see `save` for the rest.
        """
        schema = _SCHEMAS[name]
        with writing(folder / name) as draft:
            out = ParquetAppender(draft)
            try:
                out(schema.to_frame())
                for part in self._stored_cells(name):
                    out(part)
                yield lambda cells: out(
                    cells.with_columns(fill=len(self.fills)).select(schema.names()).cast(schema)
                )
            finally:
                out.close()

    def save(self, folder: Path, fill: Fill) -> None:
        """Add a fill to the list of fills."""
        fills = _Fills(format=1, fills=(*self.fills, fill))
        write_text(folder / FILLS, fills.model_dump_json(indent=1) + "\n")

    def decisions(self) -> pl.DataFrame:
        """What was decided last about each cell that was not taken back; see `DECISION`."""
        undone = [number for number, fill in enumerate(self.fills) if fill.source == UNDO]
        parts = [DECISION.to_frame(), *self._stored_cells(DECISIONS)]
        frame = pl.concat(parts).filter(pl.col("fill") > max(undone, default=-1))
        return frame.unique(["id", "category", "attribute"], keep="last", maintain_order=True)

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        assert self.index is not None
        return self.index["key"].to_numpy()

    def _stored_cells(self, name: str) -> Iterator[pl.DataFrame]:
        """The cells of the fills that count, as they are stored."""
        if self.stored is not None and (path := self.stored.with_name(name)).exists():
            yield from _cells(path, len(self.fills))


def _cells(path: Path, num_fills: int) -> Iterator[pl.DataFrame]:
    frame = pl.scan_parquet(path, glob=False).filter(pl.col("fill") < num_fills)
    for part in frame.collect_batches(chunk_size=_NUM_ROWS, maintain_order=True):
        yield part.cast(_SCHEMAS[path.name])


def read_record(file: Path) -> Record:
    """The record of what was filled in a file; an empty one if nothing was.

    A fill that was recorded, but whose file was never put in place, is left out.

    Raises:
        FolderDamaged: it cannot be read.
    """
    folder = fill_folder(file)
    if not (folder / FILLS).exists():
        return Record()
    try:
        fills = _Fills.model_validate_json((folder / FILLS).read_bytes()).fills
        last = fills[-1]
        is_abandoned = not file.exists() or last.before == sha256(file) != last.after
        if is_abandoned:
            fills = fills[:-1] if file.exists() else ()
        return Record(
            fills=fills,
            index=_index(folder / CELLS, len(fills)),
            stored=folder / CELLS,
            abandoned=last if is_abandoned else None,
        )
    except (ValidationError, OSError, IndexError, *POLARS_ERRORS) as error:
        raise FolderDamaged(
            f"{folder}, the record of what was filled in {file.name}, cannot be read.",
            hint="Put it back, or move it away: then what was filled counts as the table's own values.",
        ) from error


def _index(path: Path, num_fills: int) -> pl.DataFrame:
    texts = [pl.col(name).cast(pl.Categorical) for name in ("filled", "raw", "shown_source")]
    parts = [
        part.select(_KEY.alias("key"), *texts, "shown_confidence") for part in _cells(path, num_fills)
    ]
    if not parts:
        return pl.DataFrame(schema={"key": pl.UInt64})
    latest = pl.concat(parts).unique("key", keep="last", maintain_order=True)
    return latest.filter(pl.col("filled").is_not_null()).sort("key")
