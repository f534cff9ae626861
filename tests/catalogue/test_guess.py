"""Guessing what a shop's columns hold and where its photos are."""

from pathlib import Path

import polars as pl
import pytest

from facetry.catalogue.catalogue import assemble
from facetry.catalogue.guess import Guess, guess_columns
from facetry.catalogue.guess_photos import count_photos, guess_file_pattern, with_photos
from facetry.catalogue.source import Columns, Source

NUM_ROWS = 40


def guess(folder: Path, columns: dict[str, list[str]]) -> Guess:
    pl.DataFrame(columns).write_csv(folder / "t.csv")
    return guess_columns(Source(table=folder / "t.csv"))


def cycle(*values: str) -> list[str]:
    return [values[i % len(values)] for i in range(NUM_ROWS)]


def numbered(form: str) -> list[str]:
    return [form.format(i) for i in range(NUM_ROWS)]


COLUMNS = {
    "Artikelnummer": numbered("A-{:05}"),
    "Warengruppe": cycle("Hemden", "Hosen"),
    "Bezeichnung": numbered("Ein schönes Hemd Nummer {}"),
    "Farbe": cycle("rot", "blau", "grün"),
    "Ausschnitt": cycle("rund", "-", "", "V"),
    "Preis": numbered("{},99 €"),
    "Bild": numbered("{}.JPG"),
    "Lager": numbered("{}"),
    "Notiz": [""] * NUM_ROWS,
    "Link": numbered("https://shop.example/p/{}"),
    "Datum": numbered("2024-05-{:02}"),
    "Marke": ["Facetry"] * NUM_ROWS,
    "Größe": cycle("38", "40", "42"),
}


def test_every_column_of_a_german_shop(tmp_path: Path) -> None:
    found = guess(tmp_path, COLUMNS)
    roles = {name: role for name, (role, _) in found.roles.items()}
    assert roles == {
        "Artikelnummer": "id",
        "Warengruppe": "category",
        "Bezeichnung": "title",
        "Farbe": "attribute",
        "Ausschnitt": "attribute",
        "Bild": "photo",
        "Link": "page",
        **dict.fromkeys(["Preis", "Lager", "Notiz", "Datum", "Marke", "Größe"], "nothing"),
    }
    assert found.roles["Notiz"][1] == "it is empty"
    assert found.source_columns().attributes == {"Farbe": "Farbe", "Ausschnitt": "Ausschnitt"}


@pytest.mark.parametrize(
    ("name", "cells", "role"),
    [
        ("sku", numbered("{:06}"), "id"),
        ("Product ID", numbered("{}"), "id"),
        ("ref", numbered("X{}"), "id"),
        ("productType", cycle("Tees", "Caps"), "category"),
        ("image_url", numbered("https://cdn.example/{}?size=9"), "photo"),
        ("pictures", numbered("a/{0}_1.webp|a/{0}_2.webp"), "photo"),
        ("price_eur", cycle("1.00", "2.00"), "nothing"),
        ("neck line", cycle("v", "round", "N/A"), "attribute"),
        ("fabric", numbered("woven of a very special fabric, number {}"), "title"),
    ],
)
def test_one_column(tmp_path: Path, name: str, cells: list[str], role: str) -> None:
    assert guess(tmp_path, {name: cells, "x": cycle("p", "q")}).roles[name][0] == role


def test_an_attribute_of_few_cells(tmp_path: Path) -> None:
    necks = ["polo", "round", "V-neck", "polo", "round", "V-neck", "polo", "round", *[""] * 32]
    columns = {"id": numbered("{}"), "kind": cycle("a", "b"), "neck": necks}
    assert guess(tmp_path, columns).roles["neck"] == ("attribute", "3 values")


def test_the_challenges_columns_stay_slots(tmp_path: Path) -> None:
    found = guess(
        tmp_path,
        {
            "id": numbered("{}"),
            "Category": cycle("A", "B"),
            "len": cycle("1"),
            "attr_1": cycle("x", "y"),
        },
    )
    assert found.source_columns().attributes is None


def test_a_table_without_a_category(tmp_path: Path) -> None:
    found = guess(tmp_path, {"id": numbered("{}"), "colour": cycle("red", "blue")})
    assert found.of_role("category") == []
    assert found.source_columns("Tees").category.constant == "Tees"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("names", "ids", "pattern"),
    [
        (["7.jpg", "8.jpg"], [7, 8], "{id}.jpg"),
        (["000007.png", "000008.png"], [7, 8], "{id:06d}.png"),
        (["7_1.jpg", "7_2.jpg", "8_1.jpg"], [7, 8], "{id}_*.jpg"),
        (["7.jpg", "7_back.jpg", "8.jpg"], [7, 8], "{id}.jpg"),
        (["A-1/front.jpg", "A-1/back.jpg", "A-2/front.jpg"], ["A-1", "A-2"], "{id}/*.jpg"),
        (["big/A-1.jpg", "big/A-2.jpg"], ["A-1", "A-2"], "big/{id}.jpg"),
        (["Tops/7.jpg", "Tees & more/8.jpg"], [7, 8], "{category}/{id}.jpg"),
        (["Tops/7_1.jpg", "Tees & more/8_1.jpg"], [7, 8], "{category}/{id}_*.jpg"),
        (["Tops/7/1.jpg", "Tees & more/8/1.jpg"], [7, 8], "{category}/{id}/*.jpg"),
        (["{a}/7.jpg", "{a}/8.jpg"], [7, 8], None),
        (["logo.jpg"], [7], None),
    ],
)
def test_the_pattern_of_photo_files(
    tmp_path: Path, names: list[str], ids: list[int | str], pattern: str | None
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert guess_file_pattern(tmp_path, ids, ["Tops", "Tees & more"]) == pattern


@pytest.mark.parametrize(
    ("cell", "file", "given", "images"),
    [
        ("a.jpg", "photos/a.jpg", None, "photos"),
        ("photos/a.jpg", "photos/a.jpg", None, "."),
        ("photos/a.jpg", "photos/a.jpg", "photos", "."),
        ("a.jpg", "photos/big/a.jpg", "photos", "photos/big"),
        ("b.jpg", "photos/a.jpg", "photos", "photos"),  # none is found: as it was given
    ],
)
def test_the_folder_of_named_photos(
    tmp_path: Path, cell: str, file: str, given: str | None, images: str
) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    source = Source.model_validate({"table": tmp_path / "t.csv", "columns": {"photo": "p"}})
    found = with_photos(source, [(1, cell, "Tees")], tmp_path / given if given else None)
    assert found.images is not None
    assert found.images.resolve() == (tmp_path / images).resolve()


def test_an_id_too_long_for_a_files_name(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "t.csv").write_text(f"id,Category,colour\n{'a' * 5000},Tees,red\n")
    columns = Columns(attributes={"colour": "colour"})
    source = Source(table=tmp_path / "t.csv", images=tmp_path / "photos", columns=columns)
    assert count_photos(assemble(source, None, is_closed=False)).num_found == 0


def test_a_missing_photo_that_has_an_address_is_named_as_it_would_be_downloaded(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "t.csv").write_text("id,Category,image,colour\n17,Tees,https://shop.example/a.jpg,red\n")
    source = Source(
        table=tmp_path / "t.csv",
        images=tmp_path / "photos",
        columns=Columns(photo="image", attributes={"colour": "colour"}),
        photo_pattern="{id}.jpg",
    )
    missing = count_photos(assemble(source, None, is_closed=False)).missing
    assert missing == ((17, str(tmp_path / "photos" / "17.jpg")),)
