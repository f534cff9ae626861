"""Spreadsheets that would end the process that reads them are refused; others are not."""

import io
import random
from zipfile import ZipFile

import polars as pl
import pytest

from facetry.service.config import Limits
from facetry.service.jobs.spreadsheet import check_spreadsheet
from facetry.service.problems import Problem
from tests.service.jobs.archives import handmade, zipped


def workbook(num_rows: int = 3) -> dict[str, bytes]:
    """The parts of a workbook."""
    file = io.BytesIO()
    pl.DataFrame({"sku": [f"p{row}" for row in range(num_rows)], "size": 1}).write_excel(file)
    with ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def check(parts: dict[str, bytes]) -> None:
    check_spreadsheet(io.BytesIO(zipped(parts)), Limits())


@pytest.mark.parametrize("num_rows", [1, 3, 30_000])
def test_workbooks_are_taken(num_rows: int) -> None:
    check(workbook(num_rows))


FAR = (
    b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
    b"<row r='1048576'><c r='XFD1048576'><v>1</v></c></row>",
    b'<row r="1"><c r = "xfd1048576"/></row>',
    b'<row r="1048576"><c r="A1"/></row><row><c r="ZZZ1"/></row>',
    b'<c t="n" x="<>"' + b" " * 70_000 + b"r\n=\n" + b"\t" * 70_000 + b"'XFD1048576'/>",
    b'<c r="A99999999999999"/>',
    b'<c r="ZZZZZZZZ1"/>',
    b'<dimension ref="A1:XFD1048576"/>',
    b"<x:dimension a='1' ref = 'A1:XFD1048576'/>",
)


@pytest.mark.parametrize("cells", FAR)
@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/other.bin"])
def test_sheets_that_reach_far_are_refused(cells: bytes, part: str) -> None:
    parts = workbook()
    sheet = parts["xl/worksheets/sheet1.xml"]
    parts[part] = sheet.replace(b"</sheetData>", cells + b"</sheetData>")
    with pytest.raises(Problem, match="reaches far"):
        check(parts)


def test_places_are_found_wherever_blocks_end() -> None:
    for length in range(512 - 60, 512 + 5):  # the first block ends at 512 bytes
        content = b"<c>" + b"x" * length + b'<c t="n" r="XFD1048576"/>'
        with pytest.raises(Problem, match="reaches far"):
            check({"sheet.xml": content})


def test_endless_tags_are_refused() -> None:
    noise = random.Random(1).randbytes(1_000_000).hex().encode()
    with pytest.raises(Problem, match="no sound spreadsheet"):
        check({"sheet.xml": b"<c " + noise + b'r="XFD1048576"/>'})


def test_bombs_are_refused() -> None:
    for bomb in (zipped({"xl/sheet.xml": bytes(1 << 24)}), handmade(bytes(1 << 24), size=512)):
        with pytest.raises(Problem, match=r"times as large|not of the size"):
            check_spreadsheet(io.BytesIO(bomb), Limits())
