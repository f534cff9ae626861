"""`facetry search` shows the nearest products, and adds to them."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.cli.main import app
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.errors import ModelFolderError, TaxonomyError
from facetry.recipe import parse_recipe


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "140"}).invoke(app, ["search", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def built(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = parse_recipe({"kind": "search", "hashes": ["phash", "colorhash"]})
    return train(recipe, open_catalogue(drawn), tmp_path_factory.mktemp("search") / "model")


@pytest.fixture
def model(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photo(drawn: Path) -> Path:
    return next(iter(sorted((drawn / "train_images").glob("*.jpg"))))


def test_shows_neighbours_and_votes(model: Path, photo: Path, drawn: Path, tmp_path: Path) -> None:
    category = open_catalogue(drawn).taxonomy.categories[0]
    page = tmp_path / "page.html"
    code, shown = run(model, photo, "--category", category, "--top", "3", "--html", page)
    assert code == 0
    assert "distance" in shown
    assert "Of the 15 nearest those with a label vote; all count equally." in " ".join(shown.split())
    assert " of " in shown
    assert page.read_text().count('class="card"') == 3
    assert str(page) in shown


def test_without_a_category_shows_neighbours_alone(model: Path, photo: Path) -> None:
    code, shown = run(model, photo)
    assert code == 0
    assert "0.0000" in shown
    assert "vote" not in shown


def test_adds_products(model: Path, tmp_path: Path) -> None:
    draw_catalogue(tmp_path / "more", SampleConfig(num_products=20, seed=8, size_px=64))
    code, shown = run(model, "--add", tmp_path / "more")
    assert code == 0
    assert "products added to" in shown
    assert "those of the index before" in shown.replace("\n", " ")
    code, shown = run(model, "--add", tmp_path / "more")
    assert "0 products added" in shown
    assert "in the index already" in shown


@pytest.mark.parametrize("arguments", [[], ["photo.jpg", "--add", "table.csv"]])
def test_options_that_exclude_each_other_are_refused(arguments: list[str], model: Path) -> None:
    code, shown = run(model, *arguments)
    assert code == 2
    assert "either a photo" in shown


def test_an_unknown_category_is_an_error(model: Path, photo: Path) -> None:
    with pytest.raises(TaxonomyError, match="Socks"):
        run(model, photo, "--category", "Socks")


def test_a_model_without_an_index_says_so(tiny_model: Path, photo: Path) -> None:
    with pytest.raises(ModelFolderError, match="has no index of products"):
        run(tiny_model, photo)


def test_an_ensemble_names_its_member_with_an_index(drawn: Path, photo: Path, tmp_path: Path) -> None:
    members = {"by_hash": {"kind": "search", "hashes": ["dhash"]}}
    recipe = parse_recipe({"kind": "ensemble", "members": members})
    model = train(recipe, open_catalogue(drawn), tmp_path / "model")
    with pytest.raises(ModelFolderError) as caught:
        run(model, photo)
    assert str(model / "members" / "by_hash") in caught.value.hint
    code, _ = run(model / "members" / "by_hash", photo)
    assert code == 0
