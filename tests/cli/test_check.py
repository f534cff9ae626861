"""`facetry check` as a person sees it."""

from pathlib import Path

import polars as pl
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from facetry.cli.check import check

app = typer.Typer()
app.command()(check)

TABLE = "id,Category,color\n1,Shirts,red\n2,Shirts,blue\n"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "100"})
    return result.exit_code, result.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "taxonomy.yaml").write_text("Shirts: {color: [red, blue]}\n")
    (tmp_path / "train.csv").write_text(TABLE)
    (tmp_path / "images").mkdir()
    for number in range(1, 6):
        Image.effect_noise((8, 8), 50).save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def test_a_sound_catalogue_ends_with_0_and_its_size(folder: Path) -> None:
    code, shown = run(str(folder))
    assert code == 0
    assert "Products: 2, categories: 1, heads: 1, labels: 2 of 2 (0.0% missing)" in shown
    assert "Errors: 0, warnings: 0, notes: 0" in shown


def test_problems_are_in_a_table_of_100_columns(folder: Path) -> None:
    (folder / "train.csv").write_text(TABLE + "2,[Shrits],red\n4,Shirts,rde\n5,Shirts,red\n")
    code, shown = run(str(folder), "--out", str(folder / "problems.csv"))
    assert code == 2
    assert "'[Shrits]'" in shown.replace("\n", " ")
    assert max(map(len, shown.splitlines()[:-1])) <= 100
    findings = pl.read_csv(folder / "problems.csv")
    assert findings["problem"].to_list() == [
        "repeated id",
        "repeated id",
        "unknown category",
        "further value",
    ]
    assert findings["row"].to_list() == [3, 4, 4, 5]


def test_warnings_alone_end_with_0(folder: Path) -> None:
    (folder / "train.csv").write_text(TABLE + "4,Shirts,rde\n")
    code, shown = run(str(folder), "--taxonomy", str(folder / "taxonomy.yaml"))
    assert code == 0
    assert "is scored as wrong" in " ".join(shown.split())
    assert "Errors: 0, warnings: 1" in shown


@pytest.mark.parametrize("arguments", [("none.csv",), ("taxonomy.yaml",)])
def test_what_is_no_catalogue_ends_with_2(folder: Path, arguments: tuple[str, ...]) -> None:
    code, shown = run(*(str(folder / each) for each in arguments))
    assert code == 2
    assert "Errors: 1" in shown


def test_photos_are_checked_as_the_option_says(folder: Path) -> None:
    (folder / "photos").mkdir()
    (folder / "photos" / "1.jpg").write_text("no photo")
    (folder / "photos" / "2.jpg").write_text("no photo")
    for how, code in (("none", 0), ("exist", 0), ("open", 2)):
        images = ("--images", str(folder / "photos"))
        assert run(str(folder), *images, "--photos", how)[0] == code


def test_fix_adds_the_lines_that_mend_spellings_until_none_are_left(folder: Path) -> None:
    colours = ["turquoise"] * 12 + ["Turquoise"] * 12 + ["turqoise", "Red"]
    rows = [f"{number},Shirts,{colour}" for number, colour in enumerate(colours, 1)]
    (folder / "train.csv").write_text("\n".join(["id,type,colour", *rows, ""]))
    (folder / "catalogue.yaml").write_text(
        "table: train.csv\nimages: images\n"
        "columns: {id: id, category: type, attributes: {colour: colour}}\n"
    )
    (folder / "taxonomy.yaml").unlink()
    _, shown = run(str(folder), "--fix", "--photos", "none")
    assert shown.count("Added to ") == 2  # `turqoise` is rare beside the twins together
    assert "normalise: [case]" in (folder / "catalogue.yaml").read_text()
    assert "turqoise: turquoise" in (folder / "catalogue.yaml").read_text()
    _, shown = run(str(folder), "--photos", "none")
    assert "mend spellings" not in shown


def test_the_path_of_a_missing_photo_is_shown_as_it_was_tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "images" / "1.png").unlink()
    _, shown = run(".")
    assert " images/1" in shown
    assert "images/images" not in shown
