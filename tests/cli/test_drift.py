"""`facetry drift` on drawn catalogues: like ones, darkened ones, and what cannot be compared."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner, Result

from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.cli import main
from facetry.demo.garments import FaultRates, SampleConfig, draw_catalogue
from facetry.errors import FacetryError
from facetry.models.folder import DRIFT
from tests.conftest import MakeOnce, MakeRecipe
from tests.reports.page import Page

Run = Callable[..., Result]

WIDTH = 100
NO_FAULTS = FaultRates(**dict.fromkeys(FaultRates.model_fields, 0.0))
HALF = {"validation": 0.3, "test": 0.3, "method": "random"}


@pytest.fixture
def run() -> Run:
    runner = CliRunner(env={"COLUMNS": str(WIDTH)})

    def invoke(*words: object) -> Result:
        result = runner.invoke(main.app, ["drift", *map(str, words), "--engine", "torch"])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def draw(folder: Path, num_products: int, seed: int) -> None:
    config = SampleConfig(
        num_products=num_products, seed=seed, size_px=48, test_share=0, rates=NO_FAULTS
    )
    draw_catalogue(folder, config)


@pytest.fixture(scope="module")
def old(make_once: MakeOnce) -> Path:
    """The catalogue to train with; three of its categories have 40 held-out products."""
    return make_once("drift_old", lambda folder: draw(folder, 270, seed=11))


@pytest.fixture(scope="module")
def model(make_once: MakeOnce, old: Path, make_recipe: MakeRecipe) -> Path:
    recipe = make_recipe(split=HALF)
    return make_once("drift_model", lambda folder: train(recipe, open_catalogue(old), folder))


@pytest.fixture(scope="module")
def alike(make_once: MakeOnce) -> Path:
    """Products of the same kind as those that the model was made for."""
    return make_once("drift_alike", lambda folder: draw(folder, 160, seed=12))


def darken(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder)
    for path in (folder / "train_images").glob("*.jpg"):
        with Image.open(path) as photo:
            dark = ImageEnhance.Brightness(photo.convert("RGB")).enhance(0.5)
        dark.save(path)


@pytest.fixture(scope="module")
def dark(make_once: MakeOnce, alike: Path) -> Path:
    return make_once("drift_dark", lambda folder: darken(alike, folder))


def test_a_batch_of_the_same_kind_has_no_drift(
    run: Run, model: Path, alike: Path, tmp_path: Path
) -> None:
    page = tmp_path / "drift.html"
    done = run(model, alike, "-o", page, "--check")
    assert done.exit_code == 0, done.output
    assert "No drift" in done.output
    assert "160 products. Reference: train.csv, 162, not trained on." in done.output
    assert max(map(len, done.output.partition("Report: ")[0].splitlines())) <= WIDTH
    found = Page(page.read_text())
    assert "No drift" in found.text
    assert "--reference" in found.text  # the reference's photos are not known


def test_dark_photos_are_drift(run: Run, model: Path, dark: Path, tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    done = run(model, dark, "-o", page, "--check")
    assert done.exit_code == 1
    (line,) = (each for each in done.output.splitlines() if "photos: brightness" in each)
    assert line.rstrip().endswith("drift")
    found = Page(page.read_text())
    assert "photos: brightness" in found.text
    assert len(found.all("img")) > 12
    assert run(model, dark).exit_code == 0  # without --check


def test_a_named_reference_is_shown(
    run: Run, model: Path, old: Path, dark: Path, tmp_path: Path
) -> None:
    page = tmp_path / "drift.html"
    run(model, dark, "-o", page)
    without = len(Page(page.read_text()).all("img"))
    done = run(model, dark, "-o", page, "--reference", old)
    assert "162, not trained on" in done.output
    found = Page(page.read_text())
    assert "Typical of the reference" in found.text
    assert len(found.all("img")) > without + 12


def test_a_model_without_a_reference(
    run: Run, model: Path, old: Path, alike: Path, tmp_path: Path
) -> None:
    """It is asked for, and then kept."""
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / DRIFT).unlink()
    refused = run(tmp_path / "model", alike)
    assert "has no reference" in str(refused.exception)
    assert "--reference CATALOGUE" in str(refused.exception)
    assert "Kept in" in run(tmp_path / "model", alike, "--reference", old).output
    again = run(tmp_path / "model", alike)
    assert "162, not trained on" in again.output


def test_a_damaged_reference_is_replaced(
    run: Run, model: Path, old: Path, alike: Path, tmp_path: Path
) -> None:
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "model" / DRIFT).write_bytes(b"PK")
    assert "is damaged" in str(run(tmp_path / "model", alike).exception)
    assert "Kept in" in run(tmp_path / "model", alike, "--reference", old).output
    assert run(tmp_path / "model", alike).exit_code == 0


def test_unknown_categories_are_left_out(run: Run, model: Path, alike: Path, tmp_path: Path) -> None:
    table = pl.read_csv(alike / "train.csv")
    is_first = pl.int_range(pl.len()) < 20
    hats = table.with_columns(Category=pl.when(is_first).then(pl.lit("Hats")).otherwise("Category"))
    hats.write_csv(tmp_path / "batch.csv")
    done = run(model, tmp_path / "batch.csv", "--images", alike / "train_images")
    assert "does not have their category: Hats (20)" in done.output


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (pl.all().head(20), "has 20 products"),
        (
            (pl.exclude("Category"), pl.lit("Hats").alias("Category")),
            "has 0 products",
        ),
    ],
)
def test_too_few_products(
    run: Run, model: Path, alike: Path, tmp_path: Path, batch: object, message: str
) -> None:
    pl.read_csv(alike / "train.csv").select(batch).write_csv(tmp_path / "batch.csv")  # type: ignore[arg-type]
    refused = run(model, tmp_path / "batch.csv", "--images", alike / "train_images")
    assert message in str(refused.exception)


def test_a_table_without_photos(run: Run, model: Path, alike: Path, tmp_path: Path) -> None:
    shutil.copy(alike / "train.csv", tmp_path / "batch.csv")
    refused = run(model, tmp_path / "batch.csv")
    assert "no photo folder" in str(refused.exception)
    (tmp_path / "empty").mkdir()
    refused = run(model, tmp_path / "batch.csv", "--images", tmp_path / "empty")
    assert "file not found: 160" in str(refused.exception)


def test_swapped_arguments_are_refused(run: Run, model: Path, alike: Path) -> None:
    assert f"facetry drift {model} {alike}" in str(run(alike, model).exception)
