"""Copies a file of text record by record, byte for byte but for the records that are edited."""

import unicodedata
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO, final

import polars as pl

from facetry.batch.fill.config import CELL, Cell
from facetry.errors import InputChanged


class RecordEditor(Protocol):
    """Replaces cells in one record of a file, a text with its line end.

    If it `edits_all`, it adds or drops columns, so that every record must pass it.
    """

    @property
    def edits_all(self) -> bool:
        """Whether records without cells to replace must be edited, too."""
        ...

    def is_row(self, record: str, /) -> bool:
        """Whether the record counts as a row of the table."""
        ...

    def accepts(self, column: str, text: str, /) -> bool:
        """Whether a column can hold a text."""
        ...

    def edit(self, record: str, cells: Sequence[Cell]) -> tuple[str, list[str]]:
        """The record with cells replaced, and what was there before.

        Raises:
            InputChanged: the record is that of another product.
        """
        ...


@final
class LineWriter:
    """A `TableWriter` for files that hold a record after the other; memory does not grow with them.

    `number` is that of the next row.
    """

    def __init__(
        self, source: TextIO, out: TextIO, records: Iterator[str], editor: RecordEditor, number: int
    ) -> None:
        self._source, self._out = source, out
        self._records = records
        self._editor = editor
        self._number = number

    def accepts(self, column: str, text: str) -> bool:
        """Whether a column can hold a text."""
        return self._editor.accepts(column, text)

    def write(self, cells: pl.DataFrame) -> list[str]:
        """Write cells, and return what was there before."""
        raws: list[str] = []
        rows = map(Cell._make, cells.select(CELL).iter_rows())
        for row, group in groupby(rows, key=attrgetter("row")):
            wanted = list(group)
            record = self._copy_up_to(row)
            if record is None:
                raise other_product(wanted[0], None)
            edited, before = self._editor.edit(record, wanted)
            self._out.write(edited)
            raws += before
        return raws

    def finish(self) -> None:
        """Write the rest of the table and close the files."""
        for record in self._records:
            self._copy(record)
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._source.close()
        self._out.close()

    def _copy(self, record: str) -> None:
        is_edited = self._editor.edits_all and self._editor.is_row(record)
        self._out.write(self._editor.edit(record, ())[0] if is_edited else record)

    def _copy_up_to(self, row: int) -> str | None:
        """Copy all records before a row, and return that of the row; None if the file ends before."""
        for record in self._records:
            if self._editor.is_row(record):
                self._number += 1
                if self._number > row:
                    return record
            self._copy(record)
        return None


def require_same_id(cell: Cell, found: str) -> None:
    """Refuse a row that is not that of the cell's product; `found` is the text in its id column.

    Raises:
        InputChanged: it is another product's.
    """
    text = " ".join(unicodedata.normalize("NFC", found).split())
    if str(cell.id) not in {text, text.removesuffix(".0")}:
        raise other_product(cell, found)


def other_product(cell: Cell, found: str | None) -> InputChanged:
    """The error for a row that has another id than when the table was read."""
    what = "is missing" if found is None else f"has the id {found!r}, not {str(cell.id)!r}"
    return InputChanged(
        f"Row {cell.row} of the table {what}: it changed while it was filled.",
        hint="Nothing was written. Run the same command again.",
    )


def open_text(path: Path, encoding: str, newline: str, *, skipped: int = 0) -> TextIO:
    """A file's text after its first bytes, its lines as they are."""
    file = path.open("rb")
    file.seek(skipped)
    return _wrapped(file, encoding, newline)


def create_text(path: Path, encoding: str, *, start: bytes = b"") -> TextIO:
    """A new file for text, after some bytes, its lines as they are written."""
    file = path.open("wb")
    file.write(start)
    return _wrapped(file, encoding, "")


def _wrapped(file: BinaryIO, encoding: str, newline: str) -> TextIO:
    return TextIOWrapper(file, encoding=encoding, newline=newline)
