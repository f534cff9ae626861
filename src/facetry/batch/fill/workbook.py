"""Edits XLSX files: only cells that are written change; the sheet gets a filter and a fixed header.

The file's XML is edited where it stands: openpyxl, which writes a workbook anew, leaves out charts,
shapes, pictures that are cells' values, rules of newer versions, and the results of formulas.
"""

import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, Final, final
from xml.sax.saxutils import quoteattr
from zipfile import BadZipFile, ZipFile

import polars as pl
from defusedxml.ElementTree import fromstring

from facetry.batch.fill.config import CELL, Added, Cell
from facetry.batch.fill.lines import other_product, require_same_id
from facetry.batch.fill.sheet import (
    Range,
    Sheet,
    SheetCell,
    SheetRow,
    column_letters,
    number_cell,
    read_sheet,
    text_cell,
    unescaped,
)
from facetry.batch.fill.styles import LEGEND, Styles, with_more
from facetry.catalogue.header import Header
from facetry.catalogue.workbook import WORKBOOK, local_name, related_parts, sheet_part
from facetry.errors import CatalogueError

_LONGEST: Final = 32_767  # characters of a cell
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MOST_FROZEN: Final = 12  # header rows; more would leave no room for products


@dataclass(frozen=True, kw_only=True)
class SheetLayout:
    """Which sheet of a workbook holds the table, and how: header and the column with the ids."""

    sheet: str | None
    header: Header
    id_column: str


@final
class WorkbookWriter:
    """A `TableWriter` for XLSX. The sheet is held in memory.

    Columns that are added stand at the right end, as formulas name cells by their place; `added` may
    name some that the sheet has already.
    """

    def __init__(
        self,
        book: BinaryIO,
        draft: Path,
        layout: SheetLayout,
        *,
        added: Sequence[Added] = (),
        dropped: Sequence[str] = (),
    ) -> None:
        self._book, self._draft, self._layout = book, draft, layout
        with _explaining():
            self._archive = ZipFile(book)
            self._part = sheet_part(self._archive, layout.sheet)
            self._sheet = read_sheet(self._archive.read(self._part))
        self._columns = {
            name: number for number, name in enumerate(layout.header.names, self._sheet.first_column)
        }
        self._shown = {each.name: each.shown for each in added}
        self._added = {each.name: each for each in added if each.name not in self._columns}
        for number, name in enumerate(self._added, self._sheet.last_column + 1):
            self._columns[name] = number
        self._dropped = [self._columns[name] for name in dropped]
        self._rows: dict[int, SheetRow] = {}
        self._filled: set[str] = set()

    def accepts(self, _: str, text: str) -> bool:
        """Whether a cell can hold a text."""
        return len(text) <= _LONGEST and not _FORBIDDEN.search(text)

    def write(self, cells: pl.DataFrame) -> list[str | None]:
        """Write cells, and return what was there before; None for a cell that is left alone."""
        raws: list[str | None] = []
        rows = map(Cell._make, cells.select(CELL).iter_rows())
        for number, group in groupby(rows, key=attrgetter("row")):
            wanted = list(group)
            if number not in self._sheet.rows:
                raise other_product(wanted[0], None)
            row = self._row(number)
            require_same_id(wanted[0], self._text(row.cells.get(self._columns[self._layout.id_column])))
            raws += [self._replace(row, each) for each in wanted]
        return raws

    def finish(self) -> None:
        """Write the workbook; one without changes is copied as it is."""
        if self._rows or self._added or self._dropped:
            self._name_added()
            self._assemble()
        else:
            self._book.seek(0)
            with self._draft.open("wb") as out:
                shutil.copyfileobj(self._book, out)
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._archive.close()
        self._book.close()

    def _row(self, number: int) -> SheetRow:
        if number not in self._rows:
            start, end = self._sheet.rows[number]
            self._rows[number] = SheetRow.of(self._sheet.xml[start:end])
        return self._rows[number]

    def _replace(self, row: SheetRow, cell: Cell) -> str | None:
        """Write a cell; one that holds a formula, or is hidden below a merged one, is left alone."""
        column = self._columns[cell.column]
        before = row.cells.get(column)
        is_hidden = any(
            each.covers(cell.row, column) and (each.first_row, each.first_column) != (cell.row, column)
            for each in self._sheet.ranges
        )
        if is_hidden or (before is not None and before.has_formula):
            return None
        if cell.raw is not None:
            self._put_back(row, column, cell.raw)
        else:
            self._put(row, cell)
        return self._raw(before)

    def _put(self, row: SheetRow, cell: Cell) -> None:
        column, text = self._columns[cell.column], cell.text or ""
        before = row.cells.get(column)
        style = before.style if before else self._style_of(row, column)
        reference, prefix = f"{column_letters(column)}{cell.row}", self._sheet.prefix
        shown = self._shown.get(cell.column)
        if not text:
            row.cells.pop(column, None)
            return
        if shown == "confidence":
            xml = number_cell(prefix, reference, style, text)
        else:
            if shown is None:
                self._filled.add(cell.column)
                style = self._styles.coloured(style, cell.confidence)
            xml = text_cell(prefix, reference, style, text)
        row.cells[column] = SheetCell(column, xml, style, "inlineStr", False)

    def _put_back(self, row: SheetRow, column: int, raw: str) -> None:
        """Put a cell back as it was, in its style."""
        current = row.cells.pop(column, None)
        if not raw:
            return
        found = SheetRow.of(f"<row>{raw}</row>".encode()).cells
        (before,) = found.values()
        style = self._styles.restored(current.style if current else "", before.style)
        xml = before.xml
        if style != before.style:
            xml = re.sub(rb'\ss="\d+"', b"", xml, count=1)
            xml = re.sub(rb"^<([\w:]+)", rb"<\1" + f' s="{style}"'.encode(), xml)
        row.cells[column] = before._replace(column=column, xml=xml, style=style)

    def _raw(self, cell: SheetCell | None) -> str:
        """A cell's XML, with a text of its own in place of the number of a shared one."""
        if cell is None:
            return ""
        if cell.kind != "s":
            return cell.xml.decode()
        reference = re.search(rb'\sr="([^"]*)"', cell.xml)
        name = reference[1].decode() if reference else ""
        return text_cell(self._sheet.prefix, name, cell.style, self._text(cell)).decode()

    def _style_of(self, row: SheetRow, column: int) -> str:
        """The style of a cell that the sheet does not have yet: its row's, else its column's."""
        own = re.search(rb'\ss="(\d+)"', row.opening)
        if own and b"customFormat" in row.opening:
            return own[1].decode()
        for low, high, style in self._column_styles:
            if low <= column <= high:
                return style
        return ""

    @cached_property
    def _column_styles(self) -> list[tuple[int, int, str]]:
        part = self._sheet.part("cols")
        if part is None:
            return []
        content = fromstring(_plain(self._sheet.xml[part.start : part.end], self._sheet.prefix))
        return [
            (int(each.get("min", 0)), int(each.get("max", 0)), style)
            for each in content
            if (style := each.get("style"))
        ]

    @cached_property
    def _styles(self) -> Styles:
        return Styles(self._archive.read(self._styles_part) if self._styles_part else b"<styleSheet/>")

    @cached_property
    def _styles_part(self) -> str | None:
        return next(iter(related_parts(self._archive, WORKBOOK, "styles").values()), None)

    @cached_property
    def _shared_texts(self) -> list[str]:
        part = next(iter(related_parts(self._archive, WORKBOOK, "sharedStrings").values()), None)
        items = fromstring(self._archive.read(part)) if part else ()
        return [unescaped("".join(_texts(each))) for each in items]

    def _text(self, cell: SheetCell | None) -> str:
        """What a cell holds, as text."""
        if cell is None:
            return ""
        content = fromstring(_plain(cell.xml, self._sheet.prefix))
        if cell.kind == "inlineStr":
            return unescaped("".join(_texts(content[0]))) if len(content) else ""
        value = next((each.text or "" for each in content if local_name(each) == "v"), "")
        if cell.kind == "n":
            return _number_text(value)
        return self._shared_texts[int(value)] if cell.kind == "s" and value else unescaped(value)

    def _name_added(self) -> None:
        """Write the names of added columns into the header, in the style of that beside them."""
        number = self._layout.header.last
        if not self._added:
            return
        row = self._row(number)
        for name, each in self._added.items():
            column, beside = self._columns[name], row.cells.get(self._columns[each.beside])
            style = beside.style if beside else ""
            reference = f"{column_letters(column)}{number}"
            xml = text_cell(self._sheet.prefix, reference, style, name)
            row.cells[column] = SheetCell(column, xml, style, "inlineStr", False)

    def _assemble(self) -> None:
        xml = self._edited_sheet()
        with ZipFile(self._draft, "w") as out:
            for each in self._archive.infolist():
                with _explaining():
                    content = self._archive.read(each)
                if each.filename == self._part:
                    content = xml
                elif each.filename == self._styles_part:
                    content = self._styles.to_bytes()
                out.writestr(each, content)

    def _edited_sheet(self) -> bytes:
        sheet = self._sheet
        edits = [(*sheet.rows[number], row.to_bytes()) for number, row in self._rows.items()]
        if self._dropped:
            edits = [(*sheet.rows[number], self._without_dropped(number)) for number in sheet.rows]
        if self._filled:
            edits += _aids(sheet, self._layout.header, [self._columns[each] for each in self._filled])
        if self._added and (part := sheet.part("dimension")):
            edits.append((part.start, part.end, self._dimension(part.attributes)))
        pieces, at = [], 0
        for start, end, content in sorted(edits):
            pieces += [sheet.xml[at:start], content]
            at = end
        return b"".join([*pieces, sheet.xml[at:]])

    def _without_dropped(self, number: int) -> bytes:
        row = self._row(number)
        for column in self._dropped:
            row.cells.pop(column, None)
        return row.to_bytes()

    def _dimension(self, attributes: dict[str, str]) -> bytes:
        found = Range.of(attributes.get("ref", "A1")) or Range(1, 1, 1, 1)
        last = max(found.last_column, *(self._columns[name] for name in self._added))
        return f'<{self._sheet.prefix}dimension ref="{found._replace(last_column=last).text}"/>'.encode()


@contextmanager
def _explaining() -> Iterator[None]:
    """Turn the errors of a damaged archive into one that says so: readers pass over parts they skip.

    Raises:
        CatalogueError: it is damaged.
    """
    try:
        yield
    except (BadZipFile, KeyError, EOFError, NotImplementedError, zlib.error) as error:
        raise CatalogueError(
            f"The workbook cannot be read: {error}.",
            hint="Open it in a spreadsheet program and save it again.",
        ) from error


_Edit = tuple[int, int, bytes]
"""From which byte to which of the sheet, and what stands there afterwards."""


def _aids(sheet: Sheet, header: Header, columns: Sequence[int]) -> list[_Edit]:
    """What helps to look through a filled sheet, where it has no such thing: see the functions below."""
    makers: Sequence[Callable[[Sheet, Header, Sequence[int]], _Edit | None]] = (
        _frozen_header,
        _filter,
        _legend,
    )
    edits = (make(sheet, header, columns) for make in makers)
    return [edit for edit in edits if edit is not None]


def _frozen_header(sheet: Sheet, header: Header, _: Sequence[int]) -> _Edit | None:
    """Keep the header in sight."""
    if header.last > _MOST_FROZEN:
        return None
    p, cell = sheet.prefix, f"A{header.last + 1}"
    pane = (
        f'<{p}pane ySplit="{header.last}" topLeftCell="{cell}" activePane="bottomLeft" state="frozen"/>'
    )
    part = sheet.part("sheetViews")
    if part is None:
        view = f'<{p}sheetViews><{p}sheetView workbookViewId="0">{pane}</{p}sheetView></{p}sheetViews>'
        place = sheet.place_for("sheetViews")
        return place, place, view.encode()
    content = sheet.xml[part.start : part.end]
    opened = re.search(rb"<[\w:]*sheetView\b[^>]*>", content)
    if opened is None or re.search(rb"<[\w:]*pane\b", content):
        return None
    tag, rest = opened[0], content[opened.end() :]
    if tag.endswith(b"/>"):
        tag, rest = tag[:-2] + b">", f"</{p}sheetView>".encode() + rest
    return part.start, part.end, content[: opened.start()] + tag + pane.encode() + rest


def _filter(sheet: Sheet, header: Header, _: Sequence[int]) -> _Edit | None:
    """Give each column a filter, by which rows can be chosen by colour."""
    if sheet.part("autoFilter") or sheet.part("tableParts"):
        return None
    where = Range(header.last, sheet.first_column, max(sheet.rows), sheet.last_column)
    place = sheet.place_for("autoFilter")
    return place, place, f'<{sheet.prefix}autoFilter ref="{where.text}"/>'.encode()


def _legend(sheet: Sheet, header: Header, columns: Sequence[int]) -> _Edit | None:
    """Show what the colours mean when the header of a filled column is selected."""
    row, p = header.last, sheet.prefix
    free = [
        f"{column_letters(column)}{row}"
        for column in sorted(columns)
        if not any(each.covers(row, column) for each in sheet.validated)
    ]
    if not free:
        return None
    rule = (
        f'<{p}dataValidation allowBlank="1" showInputMessage="1" promptTitle="Facetry" '
        f'prompt={quoteattr(LEGEND)} sqref="{" ".join(free)}"/>'
    ).encode()
    part = sheet.part("dataValidations")
    if part is not None:
        rules = re.findall(rb"<(?:\w+:)?dataValidation[\s/>]", sheet.xml[part.start : part.end])
        return part.start, part.end, with_more(sheet.xml, part, [rule], len(rules))
    place = sheet.place_for("dataValidations")
    whole = f'<{p}dataValidations count="1">'.encode() + rule + f"</{p}dataValidations>".encode()
    return place, place, whole


def _plain(xml: bytes, prefix: str) -> bytes:
    """XML whose elements have no prefix, so that it can be read without what declares it."""
    return re.sub(
        rb"\s[\w]+:[\w]+=\"[^\"]*\"", b"", xml.replace(prefix.encode(), b"") if prefix else xml
    )


def _number_text(value: str) -> str:
    """A number as calamine writes it, 8900000000002 for 8.900000000002E12.

    >>> _number_text("1.563E3"), _number_text("2.50")
    ('1563', '2.5')
    """
    try:
        number = float(value)
    except ValueError:
        return value
    return str(int(number)) if number.is_integer() else str(number)


def _texts(element: object) -> list[str]:
    """The texts of a shared or inline text, but for those that say how it is pronounced."""
    found = []
    for each in element:  # type: ignore[attr-defined]
        if local_name(each) == "t":
            found.append(each.text or "")
        elif local_name(each) == "r":
            found += _texts(each)
    return found
