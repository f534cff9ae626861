"""What a fill writes and what it leaves alone, in a table of any format."""

import contextlib
import csv
import json
from io import StringIO
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facetry.batch.fill import run as fill_run
from facetry.batch.fill.record import fill_folder
from facetry.batch.fill.writers import open_writer
from facetry.errors import (
    CatalogueError,
    FolderDamaged,
    FolderOccupied,
    InputChanged,
    NotEnoughData,
    SettingError,
)
from tests.batch.fill.shop import FILLED, HEADER, ROWS, Sure, fill, filled_rows, open_shop, undo
from tests.batch.workloads import Lines

Cells = dict[tuple[str, str], str]


def write(table: Path, rows: list[list[str]] | None = None, header: tuple[str, ...] = HEADER) -> Path:
    """Write the shop's rows as CSV."""
    out = StringIO()
    csv.writer(out, delimiter=";", lineterminator="\n").writerows(
        [header, *(rows or [list(each) for each in ROWS])]
    )
    table.write_text(out.getvalue())
    return table


def cells_of(table: Path) -> Cells:
    """All cells of a CSV file by product and column."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {(row["sku"], name): text for row in rows for name, text in row.items()}


def changed(table: Path, out: Path) -> Cells:
    """The cells that differ from the table's."""
    before = cells_of(table)
    return {key: text for key, text in cells_of(out).items() if before.get(key) != text}


def change(table: Path, cells: Cells) -> None:
    """Change cells, as a person does."""
    found = cells_of(table) | cells
    header = list(dict.fromkeys(name for _, name in found))
    write(table, [[found[sku, name] for name in header] for sku, *_ in ROWS], tuple(header))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The shop's table as CSV."""
    return write(tmp_path / "shop.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the filled table is written."""
    return tmp_path / "filled.csv"


def test_only_products_with_something_to_fill_are_predicted(table: Path, out: Path) -> None:
    predictor = Sure()
    summary = fill(table, out, predictor)
    assert set(predictor.asked) == {"002", "004", "007", "008"}
    assert (summary.num_products, dict(summary.problems)) == (4, {"file not found": 1})
    means = [each.mean_confidence for each in summary.columns]
    assert means == [pytest.approx(0.8), pytest.approx(0.6)]
    assert [each.num_unpredicted for each in summary.columns] == [1, 1]


@pytest.mark.parametrize("name", ["color", "colour"])
def test_only_some_columns_by_attribute_or_column(table: Path, out: Path, name: str) -> None:
    fill(table, out, only=(name,))
    assert changed(table, out) == {key: text for key, text in FILLED.items() if key[1] == "colour"}


def test_an_unknown_column_is_refused(table: Path, out: Path) -> None:
    with pytest.raises(SettingError, match="no column that the model can fill") as caught:
        fill(table, out, only=("colur",))
    assert "colour" in caught.value.hint


def test_cells_below_the_confidence_stay_blank(table: Path, out: Path) -> None:
    summary = fill(table, out, min_confidence=0.7)
    assert {column for _, column in changed(table, out)} == {"colour"}
    assert [each.num_below for each in summary.columns] == [0, 2]


def test_all_replaces_what_the_model_knows_and_counts_it_first(table: Path, out: Path) -> None:
    write(table, [["001", "Tees", "red", "round", "1"], ["002", "Tees", "mauve", "POLO", "2"]])
    said = Lines()
    fill(table, out, replaces_known=True, reporter=said)
    assert changed(table, out) == {("001", "colour"): "black", ("001", "neck line"): "POLO"}
    assert "2 known values are replaced: colour 1, neck line 1." in said.said


def test_filling_twice_changes_nothing(table: Path, out: Path) -> None:
    fill(table, out)
    once = out.read_bytes()
    predictor = Sure()
    assert fill(table, out, predictor).num_written == len(FILLED)
    assert out.read_bytes() == once
    fill(out, out, predictor)
    assert out.read_bytes() == once
    undo(table, out)
    assert out.read_bytes() == table.read_bytes()


@pytest.mark.parametrize("replaces_known", [False, True])
def test_what_a_person_has_changed_since_stays(table: Path, out: Path, *, replaces_known: bool) -> None:
    fill(table, out)
    by_hand = {("002", "colour"): "red", ("004", "colour"): "", ("008", "neck line"): "round"}
    change(out, by_hand)
    summary = fill(table, out, Sure(0.9, 0.9), replaces_known=replaces_known, only=("colour",))
    assert {key: cells_of(out)[key] for key in by_hand} == by_hand
    assert summary.num_corrected == 2
    undo(table, out)
    assert changed(table, out) == by_hand | {("004", "colour"): ""}


def test_what_a_person_has_changed_stays_however_often_it_is_filled(table: Path, out: Path) -> None:
    fill(table, out)
    by_hand = {("002", "colour"): "red", ("008", "neck line"): "round"}
    change(out, by_hand)
    for again in (fill, fill, undo, fill):
        again(table, out)
        assert {key: cells_of(out)[key] for key in by_hand} == by_hand


def test_a_file_that_is_its_own_table_is_filled_in_place(table: Path) -> None:
    before = table.read_bytes()
    fill(table, table)
    assert cells_of(table) == {
        (row[0], name): text for row in filled_rows() for name, text in zip(HEADER, row, strict=True)
    }
    change(table, {("002", "colour"): "red"})
    fill(table, table)
    assert cells_of(table)["002", "colour"] == "red"
    undo(table, table)
    assert changed_lines(before.decode(), table.read_text()) == ["002;Tees;red;N/A;6,10"]


def changed_lines(before: str, after: str) -> list[str]:
    """The lines of the second text that the first does not have."""
    return [line for line in after.splitlines() if line not in before.splitlines()]


def test_a_new_table_is_filled_anew_unless_work_would_be_lost(table: Path, out: Path) -> None:
    fill(table, out)
    write(table, [["001", "Tees", "", "round", "9"], ["009", "Shoes", "white", "", "9"]])
    fill(table, out)
    assert cells_of(out)["001", "colour"] == "black"
    out.write_text(out.read_text().replace("white", "red"))
    write(table, [["001", "Tees", "", "", "10"]])
    with pytest.raises(InputChanged, match="and so has"):
        fill(table, out)


def test_a_file_of_another_origin_is_not_touched(table: Path, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(FolderOccupied, match="was not made by"):
        fill(table, out)
    assert out.read_text() == "mine"
    with pytest.raises(NotEnoughData, match="nothing to take back"):
        undo(table, out)


def test_undo_of_what_was_never_filled_leaves_nothing_behind(table: Path) -> None:
    with pytest.raises(NotEnoughData, match="nothing to take back"):
        undo(table, table.parent / "other.csv")
    assert not [*table.parent.glob("other*")]


def test_a_recorded_fill_whose_file_was_never_put_in_place_does_not_count(table: Path) -> None:
    original = table.read_bytes()
    fill(table, table)
    filled = table.read_bytes()
    table.write_bytes(original)  # as if the process had been killed between the two
    fill(table, table)
    assert table.read_bytes() == filled
    (fill_folder(table) / "fill.json").write_text("{")
    with pytest.raises(FolderDamaged, match=r"shop\.csv"):
        fill(table, table)


def test_confidence_and_source_beside_each_attribute(table: Path, out: Path) -> None:
    repairs = table.with_name("repairs.csv")
    repairs.write_text(
        "id,category,attribute,old,new\n008,Tees,color,,white\n001,Tees,color,black,red\n"
    )
    catalogue = open_shop(table, repairs=[repairs])
    fill(table, out, catalogue=catalogue, shows=("confidence", "source"))
    assert out.read_text().splitlines()[0] == (
        "sku;type;colour;colour confidence;colour source;"
        "neck line;neck line confidence;neck line source;price"
    )
    found = cells_of(out)
    model = "model one 2024-05-01"
    sources = {sku: found[sku, "colour source"] for sku, *_ in ROWS}
    assert sources == {
        "001": "seller", "002": model, "003": "seller", "004": model, "005": "seller",
        "006": "seller", "007": "seller", "008": "repair",
    }  # fmt: skip
    assert found["002", "colour confidence"] == "0.8"
    assert found["008", "colour"] == "white"
    assert found["001", "colour"] == "Black"  # a known value is not repaired unless all are replaced
    undo(table, out)
    assert out.read_bytes() == table.read_bytes()


def test_repairs_replace_known_values_if_they_are_to(table: Path, out: Path) -> None:
    repairs = table.with_name("repairs.csv")
    repairs.write_text("id,category,attribute,old,new\n001,Tees,color,black,red\n006,Tees,neck,polo,\n")
    catalogue = open_shop(table, repairs=[repairs])
    fill(table, out, catalogue=catalogue, min_confidence=2.0, replaces_repaired=True)
    assert changed(table, out) == {("001", "colour"): "red", ("006", "neck line"): ""}


def test_added_columns_stay_and_are_kept_up_to_date(table: Path, out: Path) -> None:
    fill(table, out, only=("colour",), shows=("source",))
    change(out, {("003", "price"): "99"})
    fill(table, out)
    found = cells_of(out)
    assert found["002", "neck line"] == "Polo"
    assert found["002", "colour source"] == "model one 2024-05-01"
    assert ("002", "neck line source") not in found


def test_a_column_of_the_shop_is_not_taken_for_an_added_one(table: Path, out: Path) -> None:
    header = ("sku", "type", "colour", "neck line", "colour source")
    write(table, header=header)
    with pytest.raises(SettingError, match="has a column 'colour source' already"):
        fill(table, out, shows=("source",))


def test_the_ending_says_the_format(table: Path, tmp_path: Path) -> None:
    fill(table, tmp_path / "filled.txt")
    with pytest.raises(SettingError, match=r"filled in as \.csv, not as \.xlsx"):
        fill(table, tmp_path / "filled.xlsx")


def test_json_lines_keep_every_other_byte(tmp_path: Path) -> None:
    table, out = tmp_path / "shop.jsonl", tmp_path / "filled.jsonl"
    lines = [
        '{"sku": "001", "type": "Tees", "colour": "Black", "neck line": "round", "price": 5.10}',
        '{"sku":"002","type":"Tees","colour":null,"neck line":"n/a","more":{"a":[1, 2]}}',
        "",
        '  {"type": "Shoes", "sku": "004"  , "price": 1e2}',
        '{"sku": "003", "type": "Shoes", "colour": "\\u0042lack", "price": 0.30}',
    ]
    table.write_text("\n".join(lines))
    fill(table, out)
    wanted = list(lines)
    wanted[1] = '{"sku":"002","type":"Tees","colour":"Black","neck line":"polo","more":{"a":[1, 2]}}'
    wanted[3] = '  {"type": "Shoes", "sku": "004"  , "price": 1e2, "colour": "Black"}'
    assert out.read_text() == "\n".join(wanted)
    undo(table, out)
    assert out.read_bytes() == table.read_bytes()


def test_json_lines_with_further_columns(tmp_path: Path) -> None:
    table, out = tmp_path / "shop.jsonl", tmp_path / "filled.jsonl"
    rows = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    fill(table, out, only=("colour",), shows=("confidence", "source"))
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(found[1]) == ["sku", "type", "colour", "colour confidence", "colour source", *HEADER[3:]]
    assert found[1]["colour confidence"] == 0.8
    undo(table, out)
    assert out.read_bytes() == table.read_bytes()


def test_parquet_keeps_columns_types_and_everything_else(tmp_path: Path) -> None:
    table, out = tmp_path / "shop.parquet", tmp_path / "filled.parquet"
    frame = pl.DataFrame([list(row) for row in ROWS], schema=list(HEADER), orient="row")
    frame = frame.with_columns(
        pl.col("colour").cast(pl.Categorical),
        pl.when(pl.col("neck line") != "").then(pl.col("neck line")),
        tags=pl.Series([["a", None]] * len(ROWS)),
        when=pl.lit("2024-05-01").str.to_datetime(),
    )
    frame.write_parquet(table)
    fill(table, out)
    found = pl.read_parquet(out)
    wanted = pl.DataFrame(filled_rows(), schema=list(HEADER), orient="row")
    assert found.schema == frame.schema
    assert found["colour"].cast(pl.String).to_list() == wanted["colour"].to_list()
    assert found.drop("colour", "neck line").equals(frame.drop("colour", "neck line"))
    undo(table, out)
    assert pl.read_parquet(out).equals(frame)


def test_a_value_that_a_column_cannot_hold_is_not_written(tmp_path: Path) -> None:
    table, out = tmp_path / "shop.parquet", tmp_path / "filled.parquet"
    frame = pl.DataFrame(
        {"sku": [1, 2], "type": ["Tees"] * 2, "colour": [7, None], "neck line": [None] * 2}
    )
    frame.write_parquet(table)
    for sku in (1, 2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{sku}.png").write_bytes(PNG)
    summary = fill(table, out)
    assert [each.num_refused for each in summary.columns] == [1, 0]
    found = pl.read_parquet(out)
    assert found["colour"].equals(frame["colour"])
    assert found["neck line"].to_list() == ["polo", "polo"]


def _png() -> bytes:
    from io import BytesIO

    from PIL import Image

    content = BytesIO()
    Image.new("RGB", (9, 9)).save(content, "PNG")
    return content.getvalue()


PNG = _png()


def test_nothing_is_written_if_the_table_changes_meanwhile(
    table: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = fill_run.predict_table

    def predict_and_change(*args: object, **options: object) -> object:
        summary = predict(*args, **options)  # type: ignore[arg-type]
        table.write_text(table.read_text().replace("002;", "012;"))
        return summary

    monkeypatch.setattr(fill_run, "predict_table", predict_and_change)
    with pytest.raises(InputChanged, match="changed while it was filled"):
        fill(table, out)
    assert not out.exists()


class _Killed(BaseException):
    """What ends a process at once."""


@pytest.mark.parametrize("number", range(1, 4))
def test_an_undo_that_was_killed_can_be_done_again(
    table: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table.read_bytes()
    fill(table, table)
    replace, calls = Path.replace, []

    def replace_or_die(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == number:
            raise _Killed
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(_Killed):
            undo(table, table)
    undo(table, table)
    assert table.read_bytes() == before
    fill(table, table)
    assert changed(write(table.with_name("again.csv")), table) == FILLED


def test_a_second_fill_that_was_killed_can_be_done_again(
    table: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(table, out)
    replace = Path.replace

    def replace_or_die(path: Path, target: Path) -> Path:
        if target == out:
            raise _Killed
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(_Killed):
            fill(table, out, shows=("source",))
    fill(table, out, shows=("source",))
    assert "colour source" in out.read_text()


def test_a_product_keeps_its_record_when_ids_become_texts(table: Path) -> None:
    rows = [["2.0", "Tees", "", "", ""], ["4.0", "Shoes", "Black", "", ""]]
    write(table, rows)
    fill(table, table, catalogue=open_shop(table, photo_pattern="00{id}.png"))
    assert cells_of(table)["2.0", "colour"] == "Black"
    write(table, [["2.0", "Tees", "Black", "", ""], rows[1], ["A7", "Shoes", "Black", "", ""]])
    photo = table.parent / "photos" / "002.png"
    photo.rename(photo.with_name("002.0.png"))
    fill(table, table, catalogue=open_shop(table, photo_pattern="00{id}.png"))
    assert cells_of(table)["2.0", "neck line"] == "", "a person has emptied it"
    undo(table, table)
    assert cells_of(table)["2.0", "colour"] == ""


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_ids_are_compared_in_composed_form(tmp_path: Path, ending: str) -> None:
    table = tmp_path / f"shop.{ending}"
    rows = [("e\u0301", "Tees", "", "round"), ("002", "Tees", "black", "round")]
    frame = pl.DataFrame(rows, schema=HEADER[:4], orient="row")
    frame.write_ndjson(table) if ending == "jsonl" else frame.write_parquet(table)
    catalogue = open_shop(table)
    (tmp_path / "photos" / "001.png").rename(tmp_path / "photos" / "\u00e9.png")
    assert fill(table, table, catalogue=catalogue).num_written == 1


def test_of_json_values_with_one_key_the_first_counts(tmp_path: Path) -> None:
    table = tmp_path / "shop.jsonl"
    before = '{"sku":"002","type":"Tees","colour":"","colour":"x","neck line":"round"}\n'
    table.write_text(before)
    fill(table, table)
    assert '"colour":"black","colour":"x"' in table.read_text()
    undo(table, table)
    assert table.read_text() == before


def test_parquet_keeps_categories_bytes_and_untyped_columns(tmp_path: Path) -> None:
    table = tmp_path / "shop.parquet"
    codes = pa.array([1, None, 1], pa.int8())
    categories = pa.DictionaryArray.from_arrays(codes, pa.array(["White", "Black", "Red"]), ordered=True)
    columns = {
        "sku": pa.array([b"001", b"002", b"004"]),
        "type": ["Tees", "Tees", "Tees"],
        "colour": categories,
        "neck line": pa.array([b"Polo", b"-", None]),
        "empty": pa.nulls(3),
    }
    pq.write_table(pa.table(columns), table)
    before = pq.read_table(table)
    fill(table, table)
    after = pq.read_table(table)
    assert after.schema == before.schema
    assert after["colour"].chunk(0).dictionary.to_pylist() == ["White", "Black", "Red"]
    assert after["neck line"].to_pylist() == [b"Polo"] * 3
    undo(table, table)
    assert pq.read_table(table).to_pylist() == before.to_pylist()


def test_damage_to_parquet_that_polars_passes_over_is_explained(tmp_path: Path) -> None:
    table = tmp_path / "shop.parquet"
    pl.DataFrame(list(ROWS), schema=HEADER, orient="row").write_parquet(table)
    sound = table.read_bytes()
    catalogue = open_shop(table)
    for at in range(0, len(sound), 97):
        table.write_bytes(sound[:at] + bytes([sound[at] ^ 0x41]) + sound[at + 1 :])
        with contextlib.suppress(CatalogueError):
            writer = open_writer(catalogue, tmp_path / "draft.parquet")
            writer.finish()


def test_a_link_to_the_table_stays_a_link(table: Path) -> None:
    before = table.read_bytes()
    link = table.with_name("link.csv")
    link.symlink_to(table)
    fill(table, link)
    assert link.is_symlink()
    assert changed(write(table.with_name("again.csv")), table) == FILLED
    undo(table, link)
    assert table.read_bytes() == before


@pytest.mark.parametrize("name", ["", ".", "/", "photos"])
def test_a_folder_as_output_is_refused(table: Path, name: str) -> None:
    open_shop(table)
    with pytest.raises(SettingError, match="is a folder"):
        fill(table, table.parent / name if name == "photos" else Path(name))


def test_a_record_of_a_later_format_is_not_misread(table: Path) -> None:
    fill(table, table)
    record = fill_folder(table) / "fill.json"
    record.write_text(record.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(FolderDamaged, match="cannot be read"):
        undo(table, table)


def test_a_column_keeps_its_record_in_another_letter_case(table: Path) -> None:
    before = table.read_text()
    fill(table, table)
    table.write_text(table.read_text().replace("colour", "Colour"))
    undo(table, table)
    assert table.read_text() == before.replace("colour", "Colour")
