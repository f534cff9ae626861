"""Reading tables: delimiters, encodings, ids, labels, malformed files."""

import math
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import Columns, Source
from facetry.catalogue.table import find_layout, tidy
from facetry.errors import CatalogueError
from facetry.taxonomy import Taxonomy

Write = Callable[[str | bytes], Path]

HEADER = "id,Category,attr_1,attr_2\n"


def read(table: Path, columns: Columns | None = None) -> pl.DataFrame:
    raw = scan(Source(table=table))
    layout = find_layout(column_names(raw), columns or Columns(), None)
    return collect(tidy(raw, layout, table), table)


def first_label(write: Write, cell: str) -> str | None:
    return read(write(f"{HEADER}1,Shirts,{cell},x\n"))["label attr_1"].item()


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        ("red", "red"),
        ("", None),
        ("   ", None),
        ("nan", None),
        ("NaN", None),
        ("dummy", None),
        ("dummy_value", None),
        ("nu", None),
        ("NU", None),
        ("default", "default"),
        ("None", None),
        ("N/A", None),
        (" - ", None),
        ("Not  applicable", None),
        ("nude", "nude"),
        ('"same as saree\n"', "same as saree"),
        ('"a, b"', "a, b"),
        ('"say ""hi"""', 'say "hi"'),
        ("  dark \t  red ", "dark red"),
        ("dark\x1cred", "dark red"),
        ("dark\u00a0red", "dark red"),
        ("größe & co/½", "größe & co/½"),
        ("[bold]", "[bold]"),
    ],
)
def test_labels_are_cleaned_and_fills_are_none(write: Write, cell: str, label: str | None) -> None:
    assert first_label(write, cell) == label


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "1,Shirts,red,slim\n",
        "\ufeff" + HEADER + "1,Shirts,red,slim\n",
        (HEADER + "1,Shirts,red,slim").replace("\n", "\r\n"),
        (HEADER + "1,Shirts,red,slim\n").replace(",", ";"),
        (HEADER + "1,Shirts,red,slim\n").replace(",", "\t"),
        '"id","Category","attr_1","attr_2","a;b;c;d;e;f"\n1,Shirts,red,slim,\n',
        ",row,ID,category,attr_1,attr_2\n0,7,1,Shirts,red,slim\n",
    ],
    ids=["plain", "BOM", "CRLF", "semicolons", "tabs", "quoted header", "index column"],
)
def test_ways_to_write_a_csv(write: Write, text: str) -> None:
    (product,) = read(write(text)).drop("photo", "text", "page").iter_rows()
    assert product == (2, 1, "Shirts", "red", "slim")


def test_blank_lines_and_short_rows_keep_row_numbers_right(write: Write) -> None:
    table = read(write(HEADER + "1,Shirts,red,slim\n\n,,,\n4,Shirts\n\n"))
    assert table["row"].to_list() == [2, 5]
    assert table["label attr_1"].to_list() == ["red", None]


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (["0", "12", "-3"], [0, 12, -3]),
        (["000123", "12"], ["000123", "12"]),
        (["1", "", "3"], [1, None, 3]),
        (["1.0", "", "3.0"], [1, None, 3]),
        (["1.0", "1.5"], ["1.0", "1.5"]),
        (["SKU-1", "2"], ["SKU-1", "2"]),
        ([" 7 ", "8"], [7, 8]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
    ],
)
def test_ids_of_a_csv(write: Write, cells: list[str], ids: list[int | str | None]) -> None:
    rows = "".join(f"{cell},Shirts,red,x\n" for cell in cells)
    assert read(write(HEADER + rows))["id"].to_list() == ids


@pytest.mark.parametrize(
    ("cells", "ids"),
    [
        (pl.Series([1, 2], dtype=pl.UInt8), [1, 2]),
        (pl.Series([2**63, 2], dtype=pl.UInt64), [str(2**63), "2"]),
        (pl.Series(["007", "8"]), ["007", "8"]),
        (pl.Series([1.0, None]), [1, None]),
        (pl.Series([1.0, math.nan]), [1, None]),
        (pl.Series([47001.0, 1e15]), [47001, 10**15]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    ],
)
def test_ids_of_a_parquet(tmp_path: Path, cells: pl.Series, ids: list[int | str | None]) -> None:
    frame = pl.DataFrame({"id": cells, "Category": ["Shirts"] * 2, "__index_level_0__": [0, 1]})
    frame.write_parquet(tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table["id"].to_list() == ids
    assert table["row"].to_list() == [1, 2]


def test_labels_of_a_parquet_may_be_numbers(tmp_path: Path) -> None:
    cells = {"attr_1": [2.0, math.nan, 0.5], "attr_2": [1, None, 3], "attr_3": [True, None, False]}
    frame = pl.DataFrame({"id": [1, 2, 3], "Category": ["A"] * 3, **cells})
    frame.write_parquet(tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table["label attr_1"].to_list() == ["2", None, "0.5"]
    assert table["label attr_2"].to_list() == ["1", None, "3"]
    assert table["label attr_3"].to_list() == ["true", None, "false"]


def test_a_list_of_photos_becomes_one_cell(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"id": [1, 2, 3], "Category": ["A"] * 3, "photos": [["a.jpg", "b.jpg"], [], None]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    photos = read(tmp_path / "t.parquet", Columns(photo="photos"))["photo"]
    assert photos.to_list() == ["a.jpg|b.jpg", "", None]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("attr_1", ["red", "blue"]),
        ("photo", [{"name": "a.jpg"}]),
        ("photo", {"name": "a.jpg"}),
        ("photo", [["a.jpg"]]),
        ("photo", [1, 2]),
        ("id", [1]),
        ("Category", {"name": "A"}),
    ],
)
def test_lists_and_records_where_single_values_belong_are_refused(
    tmp_path: Path, column: str, cell: object
) -> None:
    row = {"id": 1, "Category": "A", "attr_1": "red", "photo": "a.jpg", column: cell}
    pl.DataFrame([row]).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(CatalogueError, match=f"{column!r} holds (List|Struct)"):
        read(tmp_path / "t.parquet", Columns(photo="photo"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08\0rest", "is gzip, not a text"),
        (b"a,b\n\xff\0,2\n", "it holds zero bytes"),
        ((HEADER + "1,A,b,c\n2,A,b,c,d\n").encode(), "row 3 has 5 cells, the header 4"),
        ((HEADER + '1,A,"b,c\n2,A,b,c\n3,A,b,c\n').encode(), "not closed"),
        ((HEADER + '1,A,6" hem,x\n2,A,b,c\n').encode(), "line 2 has a quotation mark in the mid"),
    ],
)
def test_a_malformed_csv_is_refused_with_the_place(write: Write, content: bytes, said: str) -> None:
    with pytest.raises(CatalogueError) as refusal:
        read(write(content))
    assert said in str(refusal.value)
    assert refusal.value.hint


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CatalogueError, match=r"t\.parquet cannot be read"):
        read(tmp_path / "t.parquet")


def test_all_missing_columns_are_named_at_once() -> None:
    with pytest.raises(CatalogueError) as refusal:
        find_layout(["sku", "Catgory", "colour"], Columns(attributes={"color": "color"}), None)
    assert "'id', 'Category', 'color'" in refusal.value.message
    assert "Did you mean 'Catgory'?" in refusal.value.hint
    assert "Did you mean 'colour'?" in refusal.value.hint
    assert "catalogue.yaml" in refusal.value.hint


def test_slots_are_found_in_any_letter_case() -> None:
    names = ["id", "Category", "ATTR_2", "Attr_1"]
    taxonomy = Taxonomy.of({"A": {"color": [], "fit": []}})
    layout = find_layout(names, Columns(), taxonomy)
    assert layout.slots == ("Attr_1", "ATTR_2")
    assert layout.columns_of(taxonomy, "A") == {"color": "Attr_1", "fit": "ATTR_2"}


def test_columns_are_found_in_any_letter_case() -> None:
    columns = Columns(photo="Image", attributes={"color": "Colour"})
    layout = find_layout(["ID", "CATEGORY", "image", "colour"], columns, None)
    assert (layout.id, layout.category, layout.photo) == ("ID", "CATEGORY", "image")
    assert layout.labels == ("colour",)
