"""Spreadsheet files (XLSX, XLS, ODS) as tables of texts, read by calamine."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import polars as pl

from facetry.catalogue.header import NUM_LOOKED_AT, Header, find_header, join_names
from facetry.catalogue.workbook import bomb, repeats_endlessly, sheet_part, stray_cell
from facetry.errors import CatalogueError, nearest
from facetry.runtime.files import FileVersion, file_version

SPREADSHEETS = frozenset({".xlsx", ".xlsm", ".xls", ".ods"})
"""The endings of spreadsheet files."""


def is_spreadsheet(table: Path) -> bool:
    """Whether a table is a spreadsheet file, by its name."""
    return table.suffix.lower() in SPREADSHEETS


def sheet_names(table: Path) -> list[str]:
    """The names of a spreadsheet's sheets.

    Raises:
        CatalogueError: the file cannot be read.
    """
    return list(open_spreadsheet(table).sheet_names)


def scan_spreadsheet(
    table: Path, sheet: str | None = None, header_rows: Sequence[int] = ()
) -> tuple[pl.LazyFrame, Header]:
    """A sheet's rows below its header as texts, with their row numbers as `(row)`, and the header.

    Whole numbers are written without `.0`, dates as 2024-05-01 00:00:00. The sheet is held in memory.

    Raises:
        CatalogueError: the file cannot be read, or has no such sheet or header.
    """
    cells, num_above = _read(file_version(table), sheet)
    header = _find_header(table, cells, [number - num_above for number in header_rows])
    last = header.last if cells.height else 0
    rows = cells.slice(last).rename(dict(zip(cells.columns, header.names, strict=True)))
    numbered = rows.with_row_index("(row)", offset=num_above + last + 1)
    shifted = Header(rows=tuple(each + num_above for each in header.rows), names=header.names)
    return numbered.lazy(), shifted


def _find_header(table: Path, cells: pl.DataFrame, header_rows: Sequence[int]) -> Header:
    head = cells.head(max([NUM_LOOKED_AT, *header_rows])).fill_null("")
    rows = [list(row) for row in head.iter_rows()]
    if not header_rows:
        return find_header(rows)
    if not all(1 <= number <= len(rows) for number in header_rows):
        raise CatalogueError(
            f"{table.name} has no row for the header where header_rows says.",
            hint="Correct header_rows in catalogue.yaml.",
        )
    return Header(
        rows=tuple(header_rows), names=join_names([rows[number - 1] for number in header_rows])
    )


@lru_cache(maxsize=2)
def _read(version: FileVersion, sheet: str | None) -> tuple[pl.DataFrame, int]:
    """A sheet's cells as texts, and the number of empty rows above them, which calamine leaves out."""
    table = version.path
    book = open_spreadsheet(table)
    names = list(book.sheet_names)
    if not names:
        raise CatalogueError(f"{table.name} has no sheet with cells.")
    if sheet is not None and sheet not in names:
        raise CatalogueError(
            f"{table.name} has no sheet {sheet!r}.",
            hint=f"{nearest(sheet, names)} Its sheets: {', '.join(names)}.",
        )
    chosen = sheet or names[0]
    try:
        _refuse_oversized(table, chosen)
        cells = book.load_sheet(chosen, header_row=None, dtypes="string").to_polars()
        return cells, _num_empty_rows_above(table, chosen)
    except CatalogueError:
        raise
    except Exception as error:  # neither calamine's errors nor openpyxl's have a common class
        raise _unreadable(table, error) from error


def _refuse_oversized(table: Path, sheet: str) -> None:
    """Refuse an XLSX or ODS that is small as a file and would not fit into memory."""
    ending = table.suffix.lower()
    if ending == ".xls":  # no archive
        return
    with ZipFile(table) as archive:
        part = bomb(archive)
        if not part and ending == ".ods" and repeats_endlessly(archive):
            part = "content.xml"
        if part:
            raise CatalogueError(
                f"{table.name} is no sound spreadsheet: {part!r} in it unfolds endlessly."
            )
        stray = "" if ending == ".ods" else stray_cell(archive, sheet_part(archive, sheet))
    if stray:
        raise CatalogueError(
            f"{table.name}: sheet {sheet!r} reaches to {stray}, and nearly all of it is empty.",
            hint="Delete all rows and columns beyond the table (Ctrl-End goes to the last cell).",
        )


def open_spreadsheet(table: Path) -> Any:
    """The reader of a file, by fastexcel.

    Raises:
        CatalogueError: the file cannot be read.
    """
    import fastexcel

    try:
        return fastexcel.read_excel(table)
    except fastexcel.FastExcelError as error:
        raise _unreadable(table, error) from error


def _unreadable(table: Path, error: Exception) -> CatalogueError:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return CatalogueError(
        f"{table.name} cannot be read as a spreadsheet: {first_line}",
        hint="Open it in a spreadsheet program and save it as an Excel workbook, without a password.",
    )


def _num_empty_rows_above(table: Path, sheet: str) -> int:
    """How many rows of an XLSX are empty above the first filled one; 0 for other formats."""
    if table.suffix.lower() not in {".xlsx", ".xlsm"}:
        return 0
    from openpyxl import load_workbook

    book = load_workbook(table, read_only=True)
    try:
        rows = book[sheet].iter_rows(values_only=True)
        for number, row in enumerate(rows):
            if any(cell is not None for cell in row):
                return number
    finally:
        book.close()
    return 0
