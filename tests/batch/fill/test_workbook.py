"""XLSX files are filled cell by cell; XLS and ODS come back as XLSX."""

import re
from pathlib import Path
from zipfile import ZipFile

import pytest
import xlsxwriter
from openpyxl import load_workbook
from openpyxl.worksheet.worksheet import Worksheet
from PIL import Image

from facetry.batch.fill.run import undo_fill
from facetry.batch.fill.styles import LEVELS
from facetry.batch.fill.writers import note_on_format
from facetry.catalogue.scan import scan
from facetry.catalogue.source import Source
from facetry.errors import CatalogueError, SettingError
from tests.batch.fill.shop import FILLED, HEADER, ROWS, Sure, draw_photos, fill, open_shop, undo

pytestmark = pytest.mark.filterwarnings("ignore:.* extension is not supported")  # by openpyxl

FIRST = 4  # the row of the first product: a title, a blank row and the header are above
SKUS = [row[0] for row in ROWS]


def write_workbook(path: Path, *, first_column: int = 0) -> Path:
    """A shop's workbook: title, styles, formulas with results, a picture, a chart, a second sheet."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Products")
        other = book.add_worksheet("Sums")
        bold, money = book.add_format({"bold": True}), book.add_format({"num_format": "0.00"})
        striped = book.add_format({"bg_color": "#DDEEFF", "italic": True})
        sheet.merge_range(0, first_column, 0, first_column + 3, "Stock list", bold)
        for column, name in enumerate(HEADER, first_column):
            sheet.write_string(FIRST - 2, column, name, bold)
        for number, row in enumerate(ROWS, FIRST - 1):
            for column, text in enumerate(row, first_column):
                style = striped if number % 2 else None
                if text:
                    sheet.write_string(number, column, text, style)
                elif style:
                    sheet.write_blank(number, column, None, style)
            sheet.write_formula(number, first_column + 5, f"=ROW()*{number}", money, number * 1.5)
        sheet.set_column(1, 2, 33)
        sheet.data_validation(5, 9, 6, 9, {"validate": "list", "source": ["a", "b"]})
        sheet.conditional_format("K1:K9", {"type": "data_bar", "data_bar_2010": True})
        picture = path.with_suffix(".png")
        Image.new("RGB", (5, 5)).save(picture)
        sheet.insert_image("M2", str(picture))
        chart = book.add_chart({"type": "column"})
        chart.add_series({"values": "=Products!$F$4:$F$9"})
        sheet.insert_chart("M9", chart)
        other.write_formula("A1", "=SUM(Products!F4:F9)", None, 42)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A workbook with the shop's rows."""
    return write_workbook(tmp_path / "shop.xlsx")


def sheet_of(path: Path) -> Worksheet:
    """The sheet with the products."""
    return load_workbook(path)["Products"]


def differing(one: Worksheet, other: Worksheet) -> dict[str, object]:
    """The cells of the second sheet that differ from those of the first, in value or style."""
    last = max(one.max_row, other.max_row)
    return {
        cell.coordinate: cell.value
        for row in other.iter_rows(max_row=last, max_col=20)
        for cell in row
        if (cell.value, looks(cell)) != (one[cell.coordinate].value, looks(one[cell.coordinate]))
    }


def looks(cell: object) -> tuple[object, ...]:
    """All that makes a cell's style."""
    names = ("font", "fill", "border", "alignment", "number_format")
    return tuple(repr(getattr(cell, name)) for name in names)


def parts(path: Path) -> dict[str, bytes]:
    """What is in the file."""
    with ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def reference(sku: str, column: str, first_column: int = 0) -> str:
    """The name of a product's cell."""
    letter = chr(ord("A") + first_column + HEADER.index(column))
    return f"{letter}{FIRST + SKUS.index(sku)}"


@pytest.mark.parametrize("first_column", [0, 2])
def test_only_blank_cells_change(tmp_path: Path, first_column: int) -> None:
    table = write_workbook(tmp_path / "shop.xlsx", first_column=first_column)
    out = tmp_path / "filled.xlsx"
    summary = fill(table, out)
    wanted = {reference(*key, first_column): value for key, value in FILLED.items()}
    assert differing(sheet_of(table), sheet_of(out)) == wanted
    assert summary.num_written == len(wanted)


def test_everything_else_in_the_file_has_the_same_bytes(table: Path, tmp_path: Path) -> None:
    fill(table, tmp_path / "filled.xlsx")
    before, after = parts(table), parts(tmp_path / "filled.xlsx")
    changed = {name for name in before if before[name] != after[name]}
    assert list(before) == list(after)
    assert changed == {"xl/worksheets/sheet1.xml", "xl/styles.xml"}
    results = load_workbook(tmp_path / "filled.xlsx", data_only=True)["Products"]
    assert results[f"F{FIRST}"].value == (FIRST - 1) * 1.5


def test_a_workbook_without_blanks_is_copied(table: Path, tmp_path: Path) -> None:
    fill(table, tmp_path / "filled.xlsx", only=("color",))
    full, again = tmp_path / "filled.xlsx", tmp_path / "again.xlsx"
    fill(full, again, only=("color",), min_confidence=0.99)
    assert parts(full) == parts(again)


def test_cells_are_coloured_and_the_doubtful_ones_one_filter_away(table: Path, tmp_path: Path) -> None:
    fill(table, tmp_path / "filled.xlsx", Sure(0.95, 0.5))
    sheet = sheet_of(tmp_path / "filled.xlsx")
    colours = {
        key: sheet[reference(*key)].fill.fgColor.rgb for key in (("002", "colour"), ("002", "neck line"))
    }
    assert list(colours.values()) == [LEVELS[0].colour, LEVELS[2].colour]
    assert sheet.freeze_panes == f"A{FIRST}"
    assert sheet.auto_filter.ref == f"A{FIRST - 1}:F{FIRST - 1 + len(ROWS)}"
    (legend,) = [each for each in sheet.data_validations.dataValidation if each.promptTitle]
    assert str(legend.sqref) == f"C{FIRST - 1} D{FIRST - 1}"
    assert len(sheet.data_validations.dataValidation) == 2
    assert sheet[reference("002", "colour")].font.italic == sheet[reference("002", "sku")].font.italic


def test_undo_brings_every_cell_and_style_back(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled.xlsx"
    fill(table, out, shows=("confidence", "source"))
    undo(table, out)
    assert differing(sheet_of(table), sheet_of(out)) == {}


def test_undo_after_another_program_has_saved_the_file(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled.xlsx"
    fill(table, out)
    book = load_workbook(out)  # writes texts and styles under other numbers
    book["Products"][reference("002", "colour")] = "red"
    book.save(out)
    undo(table, out)
    changed = differing(sheet_of(table), sheet_of(out))
    assert changed.pop(reference("002", "colour")) == "red"
    assert not changed


def test_confidence_and_source_stand_at_the_right_end(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "filled.xlsx"
    fill(table, out, only=("colour",), shows=("confidence", "source"))
    rows = scan(Source(table=out, sheet="Products")).collect()
    assert rows.columns[-2:] == ["colour confidence", "colour source"]
    assert rows["colour confidence"].to_list() == [None, "0.8", None, "0.8", None, None, None, None]
    sources = rows["colour source"].to_list()
    assert sources[:3] == ["seller", "model one 2024-05-01", "seller"]
    assert sheet_of(out)["G5"].value == 0.8


def test_a_text_that_looks_like_a_formula_is_a_text(table: Path, tmp_path: Path) -> None:
    book = load_workbook(table)
    for sku in ("001", "003", "006"):
        cell = book["Products"][reference(sku, "colour")]
        cell.value, cell.data_type = "=1+1", "s"
    book.save(table)
    out = tmp_path / "filled.xlsx"
    values = {"aliases": {"=1+1": "black"}}
    fill(table, out, catalogue=open_shop(table, values=values))
    cell = sheet_of(out)[reference("002", "colour")]
    assert (cell.value, cell.data_type) == ("=1+1", "s")
    assert 't="inlineStr"' in parts(out)["xl/worksheets/sheet1.xml"].decode()


def test_formulas_and_merged_cells_are_left_alone(table: Path, tmp_path: Path) -> None:
    book = load_workbook(table)
    sheet = book["Products"]
    sheet[reference("002", "colour")] = '=""'
    sheet.merge_cells(f"D{FIRST}:D{FIRST + 1}")
    book.save(table)
    summary = fill(table, tmp_path / "filled.xlsx")
    after = sheet_of(tmp_path / "filled.xlsx")
    assert after[reference("002", "colour")].value == '=""'
    assert [each.num_refused for each in summary.columns] == [1, 1]


def test_an_ods_comes_back_as_xlsx(tmp_path: Path) -> None:
    draw_photos(tmp_path)
    table, out = write_ods(tmp_path / "shop.ods"), tmp_path / "filled.xlsx"
    summary = fill(table, out)
    assert summary.notes == [note_on_format(table)]
    sheet = sheet_of(out)
    assert [cell.value for cell in sheet[1]] == [*HEADER, "stock"]
    assert [sheet.cell(row, 6).value for row in (2, 3)] == [1.5, 2.5]
    filled = {key: sheet.cell(2 + SKUS.index(key[0]), 1 + HEADER.index(key[1])).value for key in FILLED}
    assert filled == FILLED
    assert load_workbook(out).sheetnames == ["Products", "Other"]
    with pytest.raises(SettingError, match=r"filled in as \.xlsx"):
        fill(table, tmp_path / "filled.ods")


def write_ods(path: Path) -> Path:
    """An ODS file with the shop's rows, a column of numbers, and a second sheet."""
    texts = [list(HEADER), *map(list, ROWS)]
    numbers = ["<stock>", *(str(number + 1.5) for number in range(len(ROWS)))]
    rows = "".join(
        f"<table:table-row>{''.join(map(ods_text, row))}{ods_number(number)}</table:table-row>"
        for row, number in zip(texts, numbers, strict=True)
    )
    names = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<office:document-content xmlns:office="{names}:office:1.0" xmlns:text="{names}:text:1.0" '
        f'xmlns:table="{names}:table:1.0"><office:body><office:spreadsheet>'
        f'<table:table table:name="Products">{rows}</table:table><table:table table:name="Other">'
        f"<table:table-row>{ods_text('sum')}</table:table-row></table:table>"
        "</office:spreadsheet></office:body></office:document-content>"
    )
    with ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", MANIFEST)
    return path


def ods_text(text: str) -> str:
    """A cell with a text."""
    if not text:
        return "<table:table-cell/>"
    return f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>'


def ods_number(text: str) -> str:
    """A cell with a number, or with a name in angle brackets."""
    if text.startswith("<"):
        return ods_text(text.strip("<>"))
    return f'<table:table-cell office:value-type="float" office:value="{text}"/>'


MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="/" '
    'manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>'
)


def edit_part(path: Path, name: str, *changes: tuple[str, str]) -> None:
    """Replace texts in a part of a workbook."""
    found = parts(path)
    with ZipFile(path, "w") as archive:
        for each, content in found.items():
            text = content
            for old, new in changes if each == name else ():
                assert re.search(old.encode(), text)
                text = re.sub(old.encode(), new.encode(), text)
            archive.writestr(each, text)


PRODUCTS = "xl/worksheets/sheet1.xml"


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        pytest.param(
            PRODUCTS,
            r'<c r="A([4-9])" t="s"><v>\d+</v>',
            r'<c r="A\1"><v>8.9000000000\1E12</v>',
            id="id in E notation",
        ),
        pytest.param(PRODUCTS, "(<dataValidations) .*</dataValidations>", r"\1/>", id="no rules"),
        pytest.param(PRODUCTS, r"(<dataValidations count=)\S+>", r'\1"x">', id="number of rules"),
        pytest.param(PRODUCTS, r'(<c r="\w+" s=)"\d+"', r'\1"999"', id="style that is not there"),
        pytest.param("xl/sharedStrings.xml", "<t>N/A</t>", "<t>N/A_x000D_</t>", id="escaped character"),
    ],
)
def test_unusual_workbooks_are_filled_and_undone(
    table: Path, tmp_path: Path, part: str, old: str, new: str
) -> None:
    edit_part(table, part, (old, new))
    catalogue = open_shop(table)
    for row in range(FIRST, FIRST + 6):
        Image.new("RGB", (9, 9)).save(table.parent / "photos" / f"89000000000{row}0.png")
    out = tmp_path / "filled.xlsx"
    fill(table, out, catalogue=catalogue)
    with ZipFile(out) as archive:
        assert b"inlineStr" in archive.read(PRODUCTS)
    undo_fill(catalogue, out)
    assert cell_texts(out) == cell_texts(table)


def cell_texts(path: Path) -> list[tuple[object, ...]]:
    """The cells of the sheet with the products as texts."""
    return scan(Source(table=path, images=path.parent)).collect().rows()


def test_a_damaged_picture_in_a_workbook_is_explained(table: Path, tmp_path: Path) -> None:
    with ZipFile(table) as archive:
        (picture,) = (each for each in archive.infolist() if each.filename.endswith(".png"))
    content = bytearray(table.read_bytes())
    content[picture.header_offset + 60] ^= 1
    table.write_bytes(content)
    with pytest.raises(CatalogueError, match=r"cannot be read"):
        fill(table, tmp_path / "filled.xlsx")
