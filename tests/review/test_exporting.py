"""Exports have what was decided in every form; what was not is as it was, to the byte."""

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from sqlalchemy import insert

from facetry.review import exporting
from facetry.review.answers import Answer
from facetry.review.forms import Material, write_form
from facetry.review.reviews import Reviews
from facetry.review.store.decisions import By
from facetry.service.tables import REVIEW_VALUES
from tests.review.shop import TITLE, Reviewing, reviewing, write_shop
from tests.review.transfer import as_xlsx, download, make, say

ADMIN = By(person="local", may_rule=True, is_ruling=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done when a request is answered, however slow the machine is."""
    monkeypatch.setattr(exporting, "SOON_S", 20.0)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path) as started:
        yield started


def rule(shop: Reviewing, row: int, value: str | None, kind: str = "value") -> None:
    """Change a cell as it is done in the catalogue."""
    reviews = Reviews.of(shop.service)
    answer = Answer(key=f"rule-{row}-{value}-{kind}", row=row, kind=kind, head=0, value=value)
    reviews.decisions.answer(reviews.store.get("shop"), ADMIN, [answer])


def add_value(shop: Reviewing, value: str) -> None:
    """Add a value, as an admin does."""
    reviews = Reviews.of(shop.service)
    review = reviews.store.get("shop")
    head = reviews.taxonomy(review).head_indices("Sarees").start
    with shop.service.database.transaction() as connection:
        connection.execute(
            insert(REVIEW_VALUES).values(
                review=review.id, head=head, value=value, person="local", at=0.0, verdict="added"
            )
        )


def decide_some(shop: Reviewing) -> None:
    say(shop, 0, "blue")
    say(shop, 2, None, "not_visible")
    say(shop, 4, "red")
    rule(shop, 1, "blue")  # was red in the table
    rule(shop, 3, None, "not_applicable")  # was blue in the table


def test_the_csv_has_what_was_decided_and_nothing_else_is_touched(
    shop: Reviewing, tmp_path: Path
) -> None:
    decide_some(shop)
    before = (tmp_path / "shop" / "products.csv").read_text(encoding="utf-8").splitlines()
    after = download(shop).decode().splitlines()
    changed = {index - 1: line for index, line in enumerate(after) if line != before[index]}
    assert {row: line.split(",")[3] for row, line in changed.items()} == {
        0: "blue", 1: "blue", 3: "", 4: "red",
    }  # fmt: skip


def test_the_workbook_keeps_styles_sheets_and_formulas(tmp_path: Path) -> None:
    as_xlsx(write_shop(tmp_path / "shop", 6))
    with reviewing(tmp_path) as shop:
        say(shop, 0, "blue")
        rule(shop, 1, "blue")
        content = download(shop)
    book = openpyxl.load_workbook(io.BytesIO(content))
    sheet = book.worksheets[0]
    assert [sheet.cell(row, 4).value for row in range(2, 8)] == [
        "blue",
        "blue",
        None,
        "blue",
        None,
        "red",
    ]
    assert sheet["D4"].fill.fgColor.rgb == "00FFEE00"  # D2 is marked as filled
    assert sheet["E2"].value == "=ROW()+2"
    assert book["Notes"]["A1"].value == "שלום \U0001f600"


def test_the_cells_say_by_whom_and_how_sure(shop: Reviewing) -> None:
    decide_some(shop)
    cells = pl.read_parquet(io.BytesIO(download(shop, "cells")))
    found = {id_: rest for id_, *rest in cells.select("id", "value", "source", "person").iter_rows()}
    assert found["P0"] == ["blue", "person", "local"]
    assert found["P2"] == [None, "person", "local"]
    assert found["P5"] == ["red", "table", None]
    assert found["P6"] == [None, "none", None]
    assert cells.filter(pl.col("source") == "person")["at"].null_count() == 0


def test_the_challenge_form_has_decisions_then_the_table_then_predictions(shop: Reviewing) -> None:
    decide_some(shop)
    rows = pl.read_csv(download(shop, "challenge"))
    assert rows.columns == ["id", "Category", "len", "attr_1"]
    assert rows["attr_1"].to_list()[:8] == [
        "blue", "blue", "dummy_value", "dummy_value", "red", "red", "blue", "red",
    ]  # fmt: skip


def test_the_repair_file_has_only_what_people_decided(shop: Reviewing) -> None:
    decide_some(shop)
    rows = pl.read_csv(download(shop, "repairs")).select("id", "old", "new").rows()
    assert rows == [
        ("P0", "", "blue"),
        ("P1", "red", "blue"),
        ("P3", "blue", ""),
        ("P4", "", "red"),
    ]


def test_values_count_once_an_admin_has_added_them(shop: Reviewing) -> None:
    say(shop, 0, "ochre \U0001f600", "proposed")
    assert "ochre" not in download(shop).decode()
    add_value(shop, "ochre \U0001f600")
    rule(shop, 2, "ochre \U0001f600")
    lines = download(shop).decode().splitlines()
    assert lines[3].split(",")[3] == "ochre \U0001f600"


def test_a_table_that_changed_meanwhile_is_not_written(shop: Reviewing, tmp_path: Path) -> None:
    say(shop, 0, "blue")
    table = tmp_path / "shop" / "products.csv"
    table.write_text(
        table.read_text(encoding="utf-8").replace("P5,Sarees,5.jpg,red", "P5,Sarees,5.jpg,blue")
    )
    section = make(shop)
    assert "has changed since the review read it: 1 values" in section
    assert "facetry review" in section
    assert "/exports/" not in section


def test_what_the_file_cannot_hold_is_counted(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", 4)
    table = folder / "products.csv"
    text = table.read_text(encoding="utf-8").replace(TITLE, "caf\u00e9")
    table.write_bytes(text.encode("cp1252"))
    with reviewing(tmp_path) as shop:
        add_value(shop, "ochre \U0001f600")
        rule(shop, 0, "ochre \U0001f600")
        rule(shop, 2, "blue")
        assert "1 cell could not be written" in make(shop)
        lines = download(shop).decode("cp1252").splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["", "red", "blue", "blue"]


def test_the_shops_own_repairs_are_in_its_file_too(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "shop", 4)
    (folder / "own.csv").write_text("id,category,attribute,old,new\nP1,Sarees,colour,red,blue\n")
    description = folder / "catalogue.yaml"
    description.write_text(description.read_text() + "repairs: own.csv\n")
    with reviewing(tmp_path) as shop:
        rule(shop, 0, "red")
        lines = download(shop).decode().splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["red", "blue", "", "blue"]


def test_only_the_latest_files_are_kept(shop: Reviewing, tmp_path: Path) -> None:
    for _ in range(exporting.NUM_KEPT + 2):
        make(shop, "repairs")
    make(shop, "register")
    folders = list((tmp_path / "data" / "reviews").glob("*/exports/*"))
    assert len(folders) == exporting.NUM_KEPT + 1
    page = shop.client.get("/review/shop/export").text
    assert len(re.findall("/exports/[0-9a-f]{32}", page)) == exporting.NUM_KEPT + 1


def test_what_a_killed_server_left_is_removed(shop: Reviewing, tmp_path: Path) -> None:
    make(shop, "repairs")
    (folder,) = (tmp_path / "data" / "reviews").glob("*/exports")
    (folder / ".0123.77.draft").mkdir()
    make(shop, "cells")
    assert not list(folder.glob(".*"))


def test_what_takes_long_goes_on_beside_the_page_and_is_done_once(
    shop: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, calls = threading.Event(), []
    write = exporting.write_form

    def slow(*args: object) -> object:
        calls.append(args)
        assert go.wait(10)
        return write(*args)

    monkeypatch.setattr(exporting, "write_form", slow)
    monkeypatch.setattr(exporting, "SOON_S", 0.05)
    sections = [make(shop, "cells") for _ in range(2)]
    assert all('hx-trigger="every 1s"' in each and "Writing the file" in each for each in sections)
    assert 'hx-trigger="every 1s"' in shop.client.get("/review/shop/export").text
    go.set()
    shop.client.app.state.reviews.tasks.wait(
        f"export-{Reviews.of(shop.service).store.get('shop').id}-cells", 10
    )
    assert "/exports/" in shop.client.get("/review/shop/export/cells").text
    assert len(calls) == 1


@pytest.mark.parametrize("path", ["export/no-such", "exports/" + "0" * 32, "exports/..%2F..%2Fx"])
def test_what_there_is_not_is_not_handed_out(shop: Reviewing, path: str) -> None:
    assert shop.client.get(f"/review/shop/{path}").status_code in {404, 422}


def test_nothing_is_made_without_the_pages_token(shop: Reviewing) -> None:
    assert shop.client.post("/review/shop/export/table").status_code == 403


def test_what_is_said_while_a_file_is_written_is_not_in_it(shop: Reviewing, tmp_path: Path) -> None:
    say(shop, 0, "blue")
    review = shop.reviews.store.get("shop")
    material = Material.of(shop.reviews, review)
    say(shop, 2, "red")
    shop.client.post("/review/shop/undo", json={}, headers=shop.token)
    shop.client.post("/review/shop/undo", json={}, headers=shop.token)
    say(shop, 4, "red")
    for form in ("table", "repairs"):
        folder = tmp_path / form
        folder.mkdir()
        written = write_form(form, material, folder)
        assert written.num_unwritten == 0
        assert pl.read_csv(written.path)["id"].len() == (24 if form == "table" else 1)
