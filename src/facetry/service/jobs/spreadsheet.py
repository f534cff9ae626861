"""Checks a spreadsheet that anybody may have made, before readers that hold all it spans in memory.

A few bytes can place a cell at the far end of a sheet: calamine then asks for memory for every cell up
to it, and the process ends if there is not so much. All parts are looked through, whatever their names,
since readers differ in which of them they take for a sheet.
"""

import re
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import BinaryIO, Final

from facetry.service.config import MIB, Limits
from facetry.service.jobs.archive import read_archive
from facetry.service.problems import Problem

_LIMITS: Final = {"max_zip_ratio": 200, "max_unpacked_bytes": 1024 * MIB, "max_files": 20_000}
"""How a spreadsheet, whose sheets are packed to a twentieth, differs from a photo archive."""

_MOST_CELLS: Final = 20_000_000
_LEAST_FILLED: Final = 0.01
_LONGEST_TAG: Final = MIB
_PLACE: Final = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,9})([0-9]{1,19})["']""")
_EXTENT: Final = re.compile(
    rb"""dimension\b[^<>]*\bref\s*=\s*["'][^"'<>:]*:([A-Za-z]{1,9})([0-9]{1,19})["']"""
)

Places = list[tuple[bytes, bytes]]
"""Columns, in letters, and rows."""


def check_spreadsheet(file: BinaryIO, limits: Limits) -> None:
    """Refuse an XLSX that takes much more memory than its bytes.

    Raises:
        Problem: it is a bomb, is damaged, or a sheet spans many more cells than it fills.
    """
    for _, blocks in read_archive(file, limits.model_copy(update=_LIMITS)):
        _require_filled(blocks)


def _require_filled(blocks: Iterable[bytes]) -> None:
    """Refuse a sheet that reaches far beyond its cells.

    Raises:
        Problem: it does.
    """
    last_row = last_column = num_cells = extent = 0
    for text in _tags(blocks):
        places: Places = _PLACE.findall(text)
        num_cells += sum(bool(column) for column, _ in places)
        last_row = max([last_row, *(int(row) for _, row in places)])
        last_column = max([last_column, *map(_number, {column for column, _ in places})])
        said: Places = _EXTENT.findall(text)
        extent = max([extent, *(int(row) * _number(column) for column, row in said)])
    num_spanned = last_row * max(last_column, 1)
    is_sparse = num_spanned > _MOST_CELLS and num_cells < num_spanned * _LEAST_FILLED
    if is_sparse or extent > _MOST_CELLS:
        raise Problem(
            "too_large",
            "A sheet of the table reaches far beyond its cells.",
            "Delete all rows and columns beyond the table (Ctrl-End goes to the last cell).",
        )


def _tags(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The text of a part in pieces that cut no tag.

    Raises:
        Problem: a tag that is longer than any writer makes one.
    """
    rest = b""
    for block in blocks:
        text = rest + block
        cut = max(text.rfind(b"<"), 0)
        yield text[:cut]
        rest = text[cut:] if b"<" in text else b""
        if len(rest) > _LONGEST_TAG:
            raise Problem("invalid", "The table is no sound spreadsheet.")
    yield rest


def _number(letters: bytes) -> int:
    """The number of a column.

    >>> _number(b"A"), _number(b"xfd"), _number(b"")
    (1, 16384, 0)
    """
    return reduce(lambda number, letter: 26 * number + letter - 64, letters.upper(), 0)
