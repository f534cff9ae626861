"""The parts of an XLSX file, which is an archive of XML files that refer to each other."""

import posixpath
import re
from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from defusedxml.ElementTree import fromstring

RELATION: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
"""The attribute in which an element names a part, by the part's key."""

WORKBOOK: Final = "xl/workbook.xml"
"""The part that lists the sheets."""


_MOST_CELLS = 20_000_000  # that a sheet may span if few of them are filled
_LEAST_FILLED = 0.01  # share of the cells that a sheet spans
_PLACE = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{1,9})([0-9]{1,19})["']""")
_REPEATED = re.compile(rb'-repeated="([0-9]{1,99})"')
_MOST_ROWS = 1 << 20
_CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 50_000_000
_MOST_FOLDED = 200  # sheets are packed to a tenth or a twentieth of their size


def bomb(archive: ZipFile) -> str:
    """A part that unfolds to hundreds of times its size in the file, as no sheet does; "" for none."""
    for part in archive.infolist():
        if part.file_size > max(_LARGE_BYTES, _MOST_FOLDED * part.compress_size):
            return part.filename
    return ""


def repeats_endlessly(archive: ZipFile) -> bool:
    """Whether an ODS repeats a row or a cell more often than a sheet has rows, so that it never ends."""
    with archive.open("content.xml") as file:
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            whole, _, rest = (rest + chunk).rpartition(b" ")
            if any(int(count) > _MOST_ROWS for count in _REPEATED.findall(whole)):
                return True
    return any(int(count) > _MOST_ROWS for count in _REPEATED.findall(rest))


def stray_cell(archive: ZipFile, part: str) -> str:
    """The last place of a sheet that spans many more cells than it fills, such as "XFD1048576".

    "" for any other sheet. Readers hold all cells between the first and the last in memory.
    """
    last_row = last_column = num_cells = 0
    letters = b""
    for places in _places(archive, part):
        num_cells += len(places)
        last_row = max([last_row, *(int(row) for _, row in places)])
        letters = max(
            [letters, *{column.upper() for column, _ in places}], key=lambda each: (len(each), each)
        )
    for letter in letters:
        last_column = 26 * last_column + letter - ord("A") + 1
    num_spanned = last_row * last_column
    is_sparse = num_spanned > _MOST_CELLS and num_cells < num_spanned * _LEAST_FILLED
    return f"{letters.decode()}{last_row}" if is_sparse else ""


def _places(archive: ZipFile, part: str) -> Iterator[list[tuple[bytes, bytes]]]:
    """The columns and rows of a sheet's cells, a part of the file at a time."""
    with archive.open(part) as file:
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            whole, _, rest = (rest + chunk).rpartition(b"<")
            yield _PLACE.findall(whole)
        yield _PLACE.findall(rest)


def sheet_part(archive: ZipFile, sheet: str | None) -> str:
    """The part of the file that holds a sheet; the first one without a name."""
    parts = related_parts(archive, WORKBOOK, "worksheet")
    sheets = [e for e in fromstring(archive.read(WORKBOOK)).iter() if local_name(e) == "sheet"]
    chosen = next((each for each in sheets if sheet in {None, each.get("name")}), None)
    if chosen is None:
        raise KeyError(f"no sheet {sheet!r}")
    return parts[chosen.get(RELATION, "")]


def related_parts(archive: ZipFile, part: str, kind: str) -> dict[str, str]:
    """The parts that a part of the file refers to, by their keys, of one kind."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in archive.namelist():
        return {}
    return {
        each.get("Id", ""): _resolve(folder, each.get("Target", ""))
        for each in fromstring(archive.read(relations))
        if each.get("Type", "").endswith(f"/{kind}")
    }


def _resolve(folder: str, target: str) -> str:
    if target.startswith("/"):
        return target.lstrip("/")
    return posixpath.normpath(posixpath.join(folder, target))


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]
