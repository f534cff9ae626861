"""Reports name the shop's own columns and photos."""

from pathlib import Path

import polars as pl

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.places import with_places, without_formulas


def write_shop(folder: Path) -> Path:
    """A shop whose columns are not called like the attributes."""
    (folder / "photos").mkdir()
    (folder / "shop.csv").write_text(
        "sku,type,tone,image\na1,Tees,red,a.jpg|b.jpg\na2,Tees,blue,\na3,Tees,rad,c.jpg\n"
    )
    (folder / "taxonomy.yaml").write_text("Tees: {color: [red, blue]}\n")
    file = folder / "catalogue.yaml"
    file.write_text(
        "table: shop.csv\nimages: photos\ntaxonomy: taxonomy.yaml\n"
        "columns: {id: sku, category: type, photo: image, attributes: {color: tone}}\n"
    )
    return file


def test_column_and_photos_of_a_finding(tmp_path: Path) -> None:
    catalogue = open_catalogue(write_shop(tmp_path))
    rows = [("a1", "Tees", "color"), ("a2", "Tees", None), (None, None, None), ("a9", "Caps", "color")]
    schema = dict.fromkeys(("id", "category", "attribute"), pl.String)
    found = with_places(pl.DataFrame(rows, schema=schema, orient="row"), catalogue)
    photos = tmp_path / "photos"
    assert found.select("column", "photo").rows() == [
        ("tone", f"{photos / 'a.jpg'}|{photos / 'b.jpg'}"),
        (None, str(photos / "a2.jpg")),
        (None, None),
        (None, None),
    ]


def test_check_names_them(tmp_path: Path) -> None:
    findings = check_catalogue(write_shop(tmp_path)).findings
    is_photo = pl.col("problem").cast(pl.String).str.starts_with("photo")
    (missing,) = findings.filter(pl.col("id") == "a3", is_photo).to_dicts()
    assert missing["photo"] == str(tmp_path / "photos" / "c.jpg")
    values = findings.filter(pl.col("attribute") == "color")
    assert set(values["column"]) == {"tone"}


def test_formulas_are_made_texts() -> None:
    texts = ["=1", "+1", "-1", "@a", "\ta", "a=1", "", None]
    frame = pl.DataFrame({"value": texts, "row": range(8)})
    safe = ["'=1", "'+1", "'-1", "'@a", "'\ta", "a=1", "", None]
    assert without_formulas(frame)["value"].to_list() == safe
    assert without_formulas(frame)["row"].equals(frame["row"])
