"""Edits CSV and TSV files: the fields of a record are replaced as they stand between delimiters.

What is not replaced stays as it is in the file: quotation, line ends, white space, bytes. The records
are those that polars reads: a line goes on in the next one as long as its quotation marks are odd.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO, final

from facetry.batch.fill.config import Added, Cell
from facetry.batch.fill.lines import LineWriter, create_text, open_text, require_same_id
from facetry.catalogue.delimited import Dialect

_NUMBER = re.compile(r"[-+]?\d[\d.,]*")
_LINE_END = re.compile(r"\r?\n\Z|\r\Z")
_ENDED = "\n"
"""No field holds a bare line end: so begins what was in a cell where the row ended before its column.

The name of the first column that the row did not have follows.
"""


def open_delimited(
    table: Path,
    draft: Path,
    dialect: Dialect,
    *,
    id_column: str,
    added: Sequence[Added] = (),
    dropped: Sequence[str] = (),
) -> LineWriter:
    """A writer of a copy of a CSV file at `draft`, with columns `added` or `dropped`."""
    text = _TextForm.of(dialect)
    editor = DelimitedEditor(
        text=text, columns=Columns(dialect.header.names, added, dropped), id_column=id_column
    )
    source = open_text(
        table, text.read_as, "\r" if dialect.line_end == "\r" else "\n", skipped=len(dialect.mark)
    )
    out = create_text(draft, text.read_as, start=dialect.mark)
    for record in _header(source, dialect, editor):
        out.write(record)
    return LineWriter(source, out, records(source), editor, dialect.header.last + 1)


def _header(source: TextIO, dialect: Dialect, editor: "DelimitedEditor") -> Iterator[str]:
    """The records of the header and what is above it, with the names of columns that are added."""
    lines = islice(source, dialect.num_header_lines)
    if dialect.is_marked:
        yield next(lines)
    for number, record in enumerate(records(lines), start=1):
        if number in dialect.header.rows:
            yield editor.rename(record, is_last=number == dialect.header.last)
        else:
            yield record


def records(lines: Iterator[str]) -> Iterator[str]:
    """Join the lines of each record: it goes on while its quotation marks are odd."""
    for line in lines:
        if line.count('"') % 2 == 0:
            yield line
            continue
        parts, is_open = [line], True
        while is_open and (line := next(lines, "")):
            parts.append(line)
            is_open = line.count('"') % 2 == 0
        yield "".join(parts)


def split_fields(content: str, delimiter: str) -> list[str]:
    """The fields of a record without its line end, as they are written.

    >>> split_fields('1;"red; blue";', ";")
    ['1', '"red; blue"', '']
    """
    pieces = content.split(delimiter)
    if '"' not in content:
        return pieces
    fields: list[str] = []
    is_open = False
    for piece in pieces:
        if is_open:
            fields[-1] += delimiter + piece
        else:
            fields.append(piece)
        is_open = fields[-1].startswith('"') and fields[-1].count('"') % 2 == 1
    return fields


def unquote(field: str) -> str:
    """What a field holds."""
    return field[1:-1].replace('""', '"') if field.startswith('"') else field


@dataclass(frozen=True, slots=True, kw_only=True)
class _TextForm:
    """How a file's bytes are handled as text: as Latin 1, one character a byte, where that is possible.

    So every byte that is not replaced stays the same, in any encoding that has ASCII's characters
    as single bytes. UTF-16 and the like are decoded.
    """

    encoding: str
    read_as: str
    delimiter: str

    @classmethod
    def of(cls, dialect: Dialect) -> "_TextForm":
        encoding, marks = dialect.encoding, f'{dialect.delimiter}"\r\n'
        is_trailing = dialect.delimiter >= "@" and len("\u3042".encode(encoding, "ignore")) > 1
        try:
            is_ascii = marks.encode(encoding) == marks.encode("ascii")
        except UnicodeEncodeError:
            is_ascii = False
        as_bytes = is_ascii and (encoding == "utf-8" or not is_trailing)
        read_as = "latin-1" if as_bytes else encoding
        return cls(encoding=encoding, read_as=read_as, delimiter=dialect.delimiter)

    def encode(self, text: str) -> str | None:
        """A text as it is written; None if the encoding does not have its characters."""
        try:
            content = text.encode(self.encoding)
        except UnicodeEncodeError:
            return None
        return content.decode("latin-1") if self.read_as == "latin-1" else text

    def decode(self, field: str) -> str:
        """What a field holds."""
        text = unquote(field)
        if self.read_as == "latin-1":
            text = text.encode("latin-1").decode(self.encoding, errors="replace")
        return text


class Columns:
    """Where the columns are, before and after some are added, and which are dropped at the end."""

    def __init__(self, names: Sequence[str], added: Sequence[Added], dropped: Sequence[str]) -> None:
        self.before = {name: index for index, name in enumerate(names)}
        wide: list[str] = []
        for name in names:
            wide += [name, *(each.name for each in added if each.beside == name)]
        self.names: Sequence[str] = wide
        self.after: Mapping[str, int] = {name: index for index, name in enumerate(wide)}
        self.added = [(self.after[each.name], each.name) for each in added]
        self.added.sort()
        self.dropped = sorted((self.after[name] for name in dropped), reverse=True)


@final
@dataclass(frozen=True, kw_only=True)
class DelimitedEditor:
    """Replaces fields of a record."""

    text: _TextForm
    columns: Columns
    id_column: str

    @property
    def edits_all(self) -> bool:
        """Whether columns are added or dropped."""
        return bool(self.columns.added or self.columns.dropped)

    def is_row(self, _: str) -> bool:
        """Whether the record counts as a row of the table."""
        return True

    def accepts(self, _: str, text: str) -> bool:
        """Whether a column can hold a text."""
        return self.text.encode(text) is not None

    def edit(self, record: str, cells: Sequence[Cell]) -> tuple[str, list[str]]:
        """The record with cells replaced, and what was there before."""
        fields, end = self._split(record)
        if fields == [""]:  # a blank line
            return record, []
        at = self.columns.before[self.id_column]
        if cells:
            require_same_id(cells[0], self.text.decode(fields[at]) if at < len(fields) else "")
        self._widen(fields)
        width = len(fields)
        raws = [self._replace(fields, cell, width) for cell in cells]
        for ended in {cell.raw for cell in cells if cell.raw and cell.raw.startswith(_ENDED)}:
            self._shorten(fields, ended.removeprefix(_ENDED))
        return self._join(fields, end), raws

    def rename(self, record: str, *, is_last: bool) -> str:
        """A record of the header with the columns that are added, their names in the last one."""
        if not self.edits_all:
            return record
        fields, end = self._split(record)
        self._widen(fields)
        for at, name in self.columns.added if is_last else ():
            _pad(fields, at)
            fields[at] = self._quote(name, fields, "")
        return self._join(fields, end)

    def _split(self, record: str) -> tuple[list[str], str]:
        found = _LINE_END.search(record)
        content = record[: found.start()] if found else record
        return split_fields(content, self.text.delimiter), found[0] if found else ""

    def _join(self, fields: list[str], end: str) -> str:
        for at in self.columns.dropped:
            del fields[at : at + 1]
        return self.text.delimiter.join(fields) + end

    def _widen(self, fields: list[str]) -> None:
        for at, _ in self.columns.added:
            if at <= len(fields):
                fields.insert(at, "")

    def _replace(self, fields: list[str], cell: Cell, width: int) -> str:
        """Write a cell, and return what was there in a row that had `width` fields."""
        at = self.columns.after[cell.column]
        raw = "" if cell.raw and cell.raw.startswith(_ENDED) else cell.raw
        if cell.text or raw:
            _pad(fields, at)
        if at >= len(fields):
            return ""
        before = fields[at]
        fields[at] = self._quote(cell.text or "", fields, before) if raw is None else raw
        return before if at < width else f"{_ENDED}{self.columns.names[width]}"

    def _shorten(self, fields: list[str], column: str) -> None:
        """End a row before a column, if it and all that follow are blank or dropped."""
        at = self.columns.after.get(column, len(fields))
        rest = range(at, len(fields))
        if not any(fields[each] for each in rest if each not in self.columns.dropped):
            del fields[at:]

    def _quote(self, text: str, fields: Sequence[str], before: str) -> str:
        """A text as a field: quoted where it must be, and where the field or all of the row is."""
        encoded = self.text.encode(text)
        assert encoded is not None, text
        if not text:
            return ""
        needs = any(mark in text for mark in (self.text.delimiter, '"', "\n", "\r"))
        others = [each for each in fields if each and not _NUMBER.fullmatch(each)]
        is_style = bool(others) and all(each.startswith('"') for each in others)
        if not (needs or is_style or before.startswith('"') or text != text.strip()):
            return encoded
        return '"' + encoded.replace('"', '""') + '"'


def _pad(fields: list[str], at: int) -> None:
    fields += [""] * (at + 1 - len(fields))
