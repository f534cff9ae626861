"""CSV files are filled field by field: every other byte stays as it is."""

import csv
import string
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facetry.batch.fill.delimited import open_delimited, split_fields, unquote
from facetry.catalogue.delimited import find_dialect
from tests.batch.fill.shop import HEADER, ROWS, fill, filled_rows, undo


def text_of(rows: list[list[str]], delimiter: str = ";", end: str = "\r\n", quoted: bool = False) -> str:
    """The shop's rows as CSV."""
    out = StringIO()
    how = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=how).writerows([HEADER, *rows])
    return out.getvalue()


@pytest.mark.parametrize(
    ("encoding", "delimiter", "end"),
    [
        ("utf-8", ",", "\n"),
        ("utf-8-sig", ";", "\r\n"),
        ("utf-16", "\t", "\r\n"),
        ("cp1252", ";", "\r"),
        ("shift_jis", "|", "\n"),
        ("utf-32", "|", "\r"),
    ],
)
def test_blanks_are_filled_in_the_files_own_form(
    tmp_path: Path, encoding: str, delimiter: str, end: str
) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "filled.csv"
    table.write_bytes(text_of([*map(list, ROWS)], delimiter, end).encode(encoding))
    summary = fill(table, out)
    assert out.read_bytes() == text_of(filled_rows(), delimiter, end).encode(encoding)
    assert summary.num_written == 4
    undo(table, out)
    assert out.read_bytes() == table.read_bytes()


def test_a_value_is_quoted_where_the_file_quotes(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "filled.csv"
    table.write_text(text_of([*map(list, ROWS)], quoted=True), newline="")
    fill(table, out)
    assert out.read_text() == text_of(filled_rows(), quoted=True).replace("\r\n", "\n")


def test_odd_fields_and_mixed_line_ends_stay(tmp_path: Path) -> None:
    text = (
        '"Stock list"\n\nsku;type;colour;neck line;"note"\r\n'
        '1;Tees;"black"; round ;"a ""b""; c"\n'
        '2;Tees;"-";"";"two\nlines"\r\n'
        "\n"
        "3;Shoes\n"
        '4; Shoes ;\t; "x ;last'
    ).replace(' "x ;', ";")
    table, out = tmp_path / "t.csv", tmp_path / "filled.csv"
    table.write_bytes(text.encode())
    (tmp_path / "photos").mkdir()
    for name in "1234":
        Image.new("RGB", (9, 9)).save(tmp_path / "photos" / f"{name}.png")
    fill(table, out)
    wanted = text.replace('"-";""', '"black";"polo"').replace("3;Shoes", "3;Shoes;black")
    assert out.read_bytes().decode() == wanted.replace("\t;", "black;")


FIELD = st.text(alphabet=string.ascii_letters + ' ;,\t|"\n\ré\u3042', max_size=6)


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a CSV file with odd quotation and mixed line ends, and its delimiter."""
    delimiter = draw(st.sampled_from(",;\t|"))
    names = ["sku", "type", "colour", "neck line"]
    lines = [delimiter.join(names) + draw(st.sampled_from(["\n", "\r\n"]))]
    for number in range(draw(st.integers(1, 5))):
        fields = [str(number)]
        for _ in names[1:]:
            text = draw(FIELD)
            needs = any(mark in text for mark in (delimiter, '"', "\n", "\r"))
            doubled = text.replace('"', '""')
            fields.append(f'"{doubled}"' if needs or draw(st.booleans()) else text)
        lines.append(delimiter.join(fields) + draw(st.sampled_from(["\n", "\r\n"])))
    return "".join(lines), delimiter


@settings(max_examples=100, deadline=None)
@given(csv_files())
def test_a_copy_without_cells_to_write_has_the_same_bytes(file: tuple[str, str]) -> None:
    text, delimiter = file
    with TemporaryDirectory() as folder:
        table, out = Path(folder) / "t.csv", Path(folder) / "out.csv"
        table.write_bytes(text.encode())
        dialect = find_dialect(table, delimiter=delimiter)
        open_delimited(table, out, dialect, id_column="sku").finish()
        assert out.read_bytes() == table.read_bytes()


@given(st.lists(FIELD, min_size=2), st.sampled_from(",;\t|"))
def test_fields_are_those_of_the_csv_module(cells: list[str], delimiter: str) -> None:
    out = StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(cells)
    assert [unquote(each) for each in split_fields(out.getvalue(), delimiter)] == cells


def test_undo_ends_short_rows_where_they_ended(tmp_path: Path) -> None:
    table = tmp_path / "shop.csv"
    before = "sku;type;colour;neck line;price\n001;Tees;Black;Polo;1\n002;Tees\n004;Shoes\n007;Tees;;\n"
    table.write_text(before)
    fill(table, table, shows=("confidence", "source"))
    assert "\n004;Shoes;Black;0.8;" in table.read_text()
    undo(table, table)
    assert table.read_text() == before
