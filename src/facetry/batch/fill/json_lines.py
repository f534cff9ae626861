"""Edits JSON lines: the values of some keys are replaced in the text of each object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, final

import polars as pl

from facetry.batch.fill.config import Added, Cell
from facetry.batch.fill.lines import LineWriter, create_text, open_text, require_same_id

_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"


def open_json_lines(
    table: Path,
    draft: Path,
    schema: pl.Schema,
    *,
    id_column: str,
    added: Sequence[Added] = (),
    dropped: Sequence[str] = (),
) -> LineWriter:
    """A writer of a copy of a file of JSON lines at `draft`, with keys `added` or `dropped`."""
    editor = JsonEditor(
        schema=schema,
        id_column=id_column,
        added={each.name: each for each in added},
        dropped=tuple(dropped),
    )
    source = open_text(table, "utf-8", "\n")
    return LineWriter(source, create_text(draft, "utf-8"), iter(source), editor, 1)


class _Member(NamedTuple):
    """Where in a line a key begins, where its value begins and where that ends, and the value."""

    start: int
    value_start: int
    end: int
    value: object


@final
@dataclass(frozen=True, kw_only=True)
class JsonEditor:
    """Replaces values of an object; a value that was not there is given as "" and so taken out again."""

    schema: pl.Schema
    id_column: str
    added: Mapping[str, Added] = field(default_factory=dict)
    dropped: Sequence[str] = ()

    @property
    def edits_all(self) -> bool:
        """Whether columns are added or dropped."""
        return bool(self.added or self.dropped)

    def is_row(self, record: str) -> bool:
        """Whether the record counts as a row of the table."""
        return bool(record.strip())

    def accepts(self, column: str, text: str) -> bool:
        """Whether a column can hold a text."""
        kind = self.schema.get(column, pl.String())
        if not (kind.is_numeric() or kind == pl.Boolean):
            return True
        try:
            return isinstance(json.loads(text), int | float)
        except ValueError:
            return False

    def edit(self, record: str, cells: Sequence[Cell]) -> tuple[str, list[str]]:
        """The record with cells replaced, and what was there before."""
        found = _members(record).get(self.id_column)
        if cells:
            require_same_id(cells[0], str(found.value) if found else "")
        raws = []
        for cell in cells:
            raw = self._write(cell) if cell.raw is None else cell.raw
            record, before = self._replace(record, cell.column, raw)
            raws.append(before)
        for key in self.dropped:
            record, _ = self._replace(record, key, "")
        return record, raws

    def _write(self, cell: Cell) -> str:
        """A cell's text as JSON: a number in a column of numbers, else a string."""
        text = cell.text or ""
        added = self.added.get(cell.column)
        if not text and added:
            return "null"
        kind = self.schema.get(cell.column, pl.String())
        if kind.is_numeric() or kind == pl.Boolean or (added and added.shown == "confidence"):
            return text
        return json.dumps(text, ensure_ascii=False)

    def _replace(self, record: str, key: str, raw: str) -> tuple[str, str]:
        """The line with another value for a key, and the value before."""
        members = _members(record)
        found = members.get(key)
        if found is None:
            return (self._insert(record, members, key, raw) if raw else record), ""
        before = record[found.value_start : found.end]
        if raw:
            return record[: found.value_start] + raw + record[found.end :], before
        return _without(record, found), before

    def _insert(self, record: str, members: Mapping[str, _Member], key: str, raw: str) -> str:
        beside = self.added[key].beside if key in self.added else None
        near = {beside, *(each.name for each in self.added.values() if each.beside == beside)}
        place = max(
            [each for name, each in members.items() if name in near] or members.values(),
            key=lambda each: each.end,
        )
        space = " " if record[place.value_start - 1] == " " else ""
        text = f",{space}{json.dumps(key, ensure_ascii=False)}:{space}{raw}"
        return record[: place.end] + text + record[place.end :]


def _members(record: str) -> dict[str, _Member]:
    """The members of the object in a line; of those with one key, the first, which polars reads."""
    members: dict[str, _Member] = {}
    at = _skip(record, record.index("{") + 1)
    while record[at] != "}":
        start = at
        key, at = _DECODER.raw_decode(record, at)
        value_start = _skip(record, _skip(record, at) + 1)
        value, end = _DECODER.raw_decode(record, value_start)
        members.setdefault(key, _Member(start, value_start, end, value))
        at = _skip(record, end)
        if record[at] == ",":
            at = _skip(record, at + 1)
    return members


def _skip(record: str, at: int) -> int:
    while record[at] in _SPACE:
        at += 1
    return at


def _without(record: str, member: _Member) -> str:
    """The line without a member and the comma before it, or after it if it is the first."""
    before = record[: member.start].rstrip()
    if before.endswith(","):
        return before[:-1] + record[member.end :]
    return record[: member.start] + record[member.end :].lstrip().removeprefix(",").lstrip(" ")
