"""`facetry train --show-batch` shows what training would see, and trains nothing."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.errors import CatalogueError, RecipeError, SettingError
from facetry.recipe import dump_recipe


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, ["train", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def recipe(make_recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    augment = {"hue": 0.1, "mixup": 1.0, "cutmix": 1.0, "changes": {"hue": ["color"]}}
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(dump_recipe(make_recipe(augment=augment)))
    return path


def test_a_page(drawn: Path, recipe: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "sheet.html"
    code, said = run(recipe, "-c", drawn, "--show-batch", page)
    assert code == 0
    assert str(page.name) in said.replace("\n", "")
    text = page.read_text()
    for words in ("As it is", "Epoch 3", "MixUp", "CutMix", "hue changes color", "not learned: color"):
        assert words in text
    assert text.count("<article") == 16
    assert text.count("<img") == 16 * 6
    assert [each.name for each in tmp_path.rglob("*")] == ["new", "sheet.html"]
    again = tmp_path / "again.html"
    run(recipe, "-c", drawn, "--show-batch", again)
    assert again.read_text() == text


def test_a_picture(drawn: Path, recipe: Path, tmp_path: Path) -> None:
    widths = []
    for alpha in (0, 1):
        picture = tmp_path / f"{alpha}.PNG"
        assert (
            run(recipe, "-c", drawn, "--show-batch", picture, "--set", f"augment.mixup={alpha}")[0] == 0
        )
        with Image.open(picture) as image:
            image.load()
            widths.append(image.width)
            assert image.height > 16 * 180
            assert len(image.getcolors(maxcolors=2**24)) > 10_000
    assert widths[1] > widths[0]  # MixUp has a column


@pytest.mark.parametrize(
    ("name", "words", "error", "message"),
    [
        ("sheet.pdf", [], SettingError, "ends in .html or .png"),
        (
            "sheet.html",
            ["--set", "backbone.frozen=true"],
            RecipeError,
            "augment.hue has no effect with a frozen backbone",
        ),
        (
            "sheet.html",
            ["--set", "augment.changes.flip=[lenght]"],
            RecipeError,
            r"(?s)augment.changes.flip .*'lenght'.*Did you mean 'length'\?",
        ),
        (
            "sheet.html",
            ["--images", "nowhere"],
            CatalogueError,
            "nowhere",
        ),
    ],
)
def test_what_cannot_be_shown(drawn, recipe, tmp_path, name, words, error, message) -> None:  # noqa: PLR0917
    with pytest.raises(error, match=message):
        run(recipe, "-c", drawn, "--show-batch", tmp_path / name, *words)
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_augments_no_photos_is_refused(drawn: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "search.yaml"
    recipe.write_text("{kind: search, hashes: [phash]}")
    with pytest.raises(RecipeError, match="'search' augments no photos"):
        run(recipe, "-c", drawn, "--show-batch", tmp_path / "sheet.html")


@pytest.mark.parametrize("words", [[], ["--out", "model", "--show-batch", "sheet.html"]])
def test_out_and_show_batch_exclude_each_other(drawn: Path, recipe: Path, words: list[str]) -> None:
    code, said = run(recipe, "-c", drawn, *words)
    assert code == 2
    assert "--show-batch" in said
