"""Find where a CSV file is malformed, for an error message; called once reading it has failed."""

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path

_MAX_CELL_CHARACTERS = 1 << 24
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_TO_UTF8 = "Save it as 'CSV UTF-8', or convert it: iconv -f {} -t utf-8 IN > OUT"


def separator(table: Path) -> str:
    """The delimiter that occurs most often in the header, outside quotation marks."""
    with table.open("rb") as file:
        header = re.sub(rb'"[^"]*"', b"", file.readline(1 << 20))
    return max(",;\t", key=lambda each: header.count(each.encode()))


def first_fault(table: Path) -> tuple[str, str]:
    """A message that says what is wrong in which line or row, and a hint; ("", "") if nothing is."""
    bad_byte = _first_bad_byte(table)
    if bad_byte:
        return f"{table.name} is not UTF-8 text: {bad_byte}.", _TO_UTF8.format("latin1")
    fault = _first_stray_quote(table) or _first_ragged_row(table)
    hint = "Put a value that holds the delimiter, a quotation mark or a line break in quotation marks."
    return (f"{table.name} is malformed: {fault}.", hint) if fault else ("", "")


def wrong_encoding(table: Path) -> tuple[str, str]:
    """A message and a hint for a file in UTF-16; ("", "") for any other."""
    with table.open("rb") as file:
        is_utf16 = file.read(2) in _UTF16_MARKS
    return (f"{table.name} is UTF-16 text.", _TO_UTF8.format("utf-16")) if is_utf16 else ("", "")


def _first_bad_byte(table: Path) -> str:
    with table.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1} is 0x{line[error.start]:02x}"
    return ""


def _first_stray_quote(table: Path) -> str:
    """A quotation mark inside a cell that does not begin with one."""
    mark = re.escape(separator(table))
    stray = re.compile(rf'{mark}[^"{mark}\n]+"')
    with table.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if stray.search(re.sub(r'"[^"]*"', '""', line)):
                return f"line {number} has a quotation mark in the middle of a value"
    return ""


def _first_ragged_row(table: Path) -> str:
    rows = _records(table)
    num_columns = len(next(rows, []))
    for number, cells in enumerate(rows, start=2):
        if cells and len(cells) != num_columns:
            wrong = f"row {number} has {len(cells)} cells, the header {num_columns}"
            never_closed = any(cell.count("\n") > 1 for cell in cells)
            return f"{wrong} (a quotation mark is not closed)" if never_closed else wrong
    return ""


def _records(table: Path) -> Iterator[list[str]]:
    limit = csv.field_size_limit(_MAX_CELL_CHARACTERS)
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, delimiter=separator(table))
    except csv.Error:
        return
    finally:
        csv.field_size_limit(limit)
