"""Tables of every format and dialect give the same rows."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import pytest
import xlsxwriter

from facetry.catalogue import delimited
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import Source
from facetry.catalogue.workbook import repeats_endlessly
from facetry.errors import CatalogueError

ROWS = [["1", "Tees", "rouge foncé"], ["2", "Tees", 'say "hi", \nyou'], ["3", "Caps", ""]]
HEADER = ["id", "Category", "colour"]


def csv_text(delimiter: str = ",", end: str = "\n") -> str:
    def quoted(cell: str) -> str:
        doubled = cell.replace('"', '""')
        return f'"{doubled}"' if {delimiter, "\n", '"'} & set(cell) else cell

    return "".join(delimiter.join(map(quoted, row)) + end for row in [HEADER, *ROWS])


def read(path: Path, **options: object) -> list[tuple[object, ...]]:
    source = Source.model_validate({"table": path, **options})
    frame = collect(scan(source), path)
    return [tuple(str(cell or "") for cell in row) for row in frame.select(HEADER).iter_rows()]


WANTED = [tuple(row) for row in ROWS]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(csv_text(delimiter).encode(encoding))
    assert read(file) == WANTED


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(csv_text(end=end).encode())
    assert read(file) == WANTED


def test_a_line_that_names_the_separator_is_no_row(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("sep=;\r\n" + csv_text(";", "\r\n"), newline="")
    assert read(file) == WANTED
    assert collect(scan(Source(table=file)), file)["(row)"].to_list() == [2, 3, 4]


@pytest.mark.parametrize(
    ("above", "rows"),
    [
        ("Price list;;\n;;\n", [4, 5, 6]),
        ("Price list\n\n", [4, 5, 6]),
        ("", [2, 3, 4]),
    ],
)
def test_titles_above_the_header(tmp_path: Path, above: str, rows: list[int]) -> None:
    file = tmp_path / "t.csv"
    file.write_text(above + csv_text(";"))
    assert read(file) == WANTED
    assert collect(scan(Source(table=file)), file)["(row)"].to_list() == rows


def test_header_rows_are_as_the_catalogue_says(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("1,2,3\n" + csv_text())
    assert read(file, header_rows=2) == WANTED
    with pytest.raises(CatalogueError, match="row 99 cannot be its header"):
        read(file, header_rows=99)


WriteSheet = Callable[[list[list[object]]], Path]


@pytest.fixture
def write_sheet(tmp_path: Path) -> WriteSheet:
    def write(rows: list[list[object]]) -> Path:
        with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
            book.add_worksheet("Read me").write(0, 0, "nothing here")
            sheet = book.add_worksheet("Products")
            for number, row in enumerate(rows):
                for column, cell in enumerate(row):
                    if cell != "":
                        sheet.write(number, column, cell)
        return tmp_path / "t.xlsx"

    return write


def test_a_sheet_by_its_name(write_sheet: WriteSheet) -> None:
    file = write_sheet([HEADER, *ROWS])
    assert read(file, sheet="Products") == WANTED
    with pytest.raises(CatalogueError, match="no sheet 'Product'") as refusal:
        read(file, sheet="Product")
    assert "'Products'" in refusal.value.hint


def test_numbers_of_a_sheet_are_whole_and_texts_keep_zeros(write_sheet: WriteSheet) -> None:
    file = write_sheet([HEADER, [1563.0, "Tees", 12.5], ["00012", "Tees", True]])
    assert read(file, sheet="Products") == [("1563", "Tees", "12.5"), ("00012", "Tees", "true")]


def test_the_header_of_a_sheet_is_found_below_empty_rows_and_titles(write_sheet: WriteSheet) -> None:
    file = write_sheet([[], [], ["Our products"], [], HEADER, *ROWS])
    source = Source(table=file, sheet="Products")
    assert read(file, sheet="Products") == WANTED
    assert collect(scan(source), file)["(row)"].to_list() == [6, 7, 8]


def test_merged_cells_over_the_header(write_sheet: WriteSheet) -> None:
    file = write_sheet([["", "", "Look", ""], [*HEADER, "neck"], ["1", "Tees", "red", "v"]])
    frame = scan(Source(table=file, sheet="Products"))
    assert column_names(frame) == [*HEADER, "neck"]


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    pl.DataFrame(ROWS, HEADER, orient="row").write_ndjson(file)
    assert read(file) == WANTED


@pytest.mark.parametrize("name", ["t.xlsx", "t.xls", "t.ods", "t.jsonl", "t.csv", "t.parquet"])
@pytest.mark.parametrize("content", [b"", b"\0\1\2 nonsense", b"PK\x03\x04 cut short"])
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogueError, match=f"t\\.{name[2:]} ") as refusal:
        read(tmp_path / name)
    assert refusal.value.hint


def test_a_shop_of_one_category(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,colour\n1,red\n2,blue\n")
    (tmp_path / "catalogue.yaml").write_text(
        "table: t.csv\ncolumns: {category: {constant: Tees}, attributes: {colour: colour}}\n"
    )
    catalogue = open_catalogue(tmp_path)
    assert catalogue.taxonomy.categories == ("Tees",)
    assert [product.labels for product in catalogue.products()] == [
        {"colour": "red"},
        {"colour": "blue"},
    ]


def test_a_slot_that_no_table_has_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Category,attr_99999999999\n1,Tees,x\n")
    with pytest.raises(CatalogueError, match="attr_99999999999"):
        open_catalogue(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("size", [5, 40])
def test_rows_do_not_depend_on_where_the_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, size: int
) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes((csv_text() + "\n" + csv_text().partition("\n")[2]).encode(encoding))
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", size)
    assert read(file) == WANTED * 2
    assert collect(scan(Source(table=file)), file)["(row)"].to_list() == [2, 3, 4, 6, 7, 8]
    assert scan(Source(table=file)).select("colour").head(1).collect().rows() == [("rouge foncé",)]


def test_a_stray_cell_far_from_the_table_is_refused(write_sheet: WriteSheet) -> None:
    file = write_sheet([HEADER, *ROWS])
    book = openpyxl.load_workbook(file)
    book.active["XFD1048576"] = "x"
    book.save(file)
    with pytest.raises(CatalogueError, match="reaches to XFD1048576"):
        scan(Source(table=file))


@pytest.mark.parametrize("place", ["r='XFD1048576'", 'r = "XFD1048576"', 'r="xfd1048576"'])
def test_a_stray_cell_is_found_however_its_place_is_written(write_sheet: WriteSheet, place: str) -> None:
    file = write_sheet([HEADER, *ROWS])
    book = openpyxl.load_workbook(file)
    book.active["XFD1048576"] = "x"
    book.save(file)
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b'r="XFD1048576"', place.encode()))
    with pytest.raises(CatalogueError, match="reaches to XFD1048576"):
        scan(Source(table=file))


def test_a_sheet_that_unfolds_endlessly_is_refused(write_sheet: WriteSheet) -> None:
    file = write_sheet([HEADER, *ROWS])
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/more.xml", b" " * 60_000_000)
    with pytest.raises(CatalogueError, match=r"xl/more\.xml"):
        scan(Source(table=file))


@pytest.mark.parametrize("name", ["*", "^a$", "^.*$"])
def test_a_column_that_is_named_like_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(f"id,Category,{name}\n1,Tees,red\n")
    with pytest.raises(CatalogueError, match="Rename it"):
        scan(Source(table=file))


def test_a_header_of_very_many_columns_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text(",".join(f"c{number}" for number in range(20_000)) + "\n1\n")
    with pytest.raises(CatalogueError, match="20,000 columns"):
        scan(Source(table=file))


@pytest.mark.parametrize("encoding", ["nope", "base64", "rot13", "idna", "undefined", "utf\0-8"])
def test_an_encoding_that_is_none_of_texts_is_refused(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(csv_text())
    with pytest.raises(CatalogueError, match="is not an encoding"):
        scan(Source(table=file, encoding=encoding))


@pytest.mark.parametrize(("times", "is_endless"), [(1_048_570, False), (99_999_999_999, True)])
def test_an_ods_whose_rows_are_repeated_endlessly(
    tmp_path: Path, times: int, *, is_endless: bool
) -> None:
    with zipfile.ZipFile(tmp_path / "t.ods", "w") as archive:
        archive.writestr("content.xml", f'<row table:number-rows-repeated="{times}"/>')
    with zipfile.ZipFile(tmp_path / "t.ods") as archive:
        assert repeats_endlessly(archive) is is_endless
