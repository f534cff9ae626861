"""Makes an XLSX workbook of an XLS or ODS file, which cannot be edited in place."""

from datetime import date, datetime, time, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from facetry.catalogue.header import Header
from facetry.catalogue.spreadsheet import open_spreadsheet


def as_xlsx(table: Path, sheet: str | None, header: Header) -> BytesIO:
    """The values of all sheets as XLSX: numbers, dates and texts; formats and formulas are left out.

    The `sheet` with the table, the first one if it is None, has texts down to the end of the header.

    Raises:
        CatalogueError: the file cannot be read.
    """
    from xlsxwriter import Workbook

    content = BytesIO()
    book = open_spreadsheet(table)
    with Workbook(content, {"in_memory": True, "default_date_format": "yyyy-mm-dd"}) as out:
        for name in book.sheet_names:
            is_table = name == (sheet or book.sheet_names[0])
            _copy_sheet(book, name, out.add_worksheet(name), header.last if is_table else 1)
    content.seek(0)
    return content


def _copy_sheet(book: Any, name: str, out: Any, num_texts: int) -> None:
    """Copy a sheet: the first rows as texts, and each column below in the type of its values."""
    from fastexcel import FastExcelError

    try:
        texts = book.load_sheet(name, header_row=None, dtypes="string", n_rows=num_texts).to_polars()
        rest = book.load_sheet(name, header_row=None, skip_rows=num_texts).to_polars()
    except FastExcelError:  # an empty sheet, or one with a header only
        return
    for number, row in enumerate([*texts.iter_rows(), *rest.iter_rows()]):
        for column, value in enumerate(row):
            _write(out, number, column, value)


def _write(out: Any, row: int, column: int, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        out.write_boolean(row, column, value)
    elif isinstance(value, int | float):
        out.write_number(row, column, value)
    elif isinstance(value, datetime | date | time | timedelta):
        out.write_datetime(row, column, value)
    else:
        out.write_string(row, column, str(value))
