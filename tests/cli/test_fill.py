"""`facetry fill`, and the filled copy that `facetry predict` writes, end to end in one process."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from facetry.batch.fill.cells import require_own_labels
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.cli import main
from facetry.errors import CatalogueError, FacetryError
from facetry.recipe import Recipe

Run = Callable[..., Result]


@pytest.fixture
def shop(drawn: Path, tmp_path: Path) -> Path:
    """The drawn catalogue's labelled products, every third without its first label."""
    folder = tmp_path / "shop"
    shutil.copytree(drawn, folder)
    table = pl.read_csv(folder / "train.csv", infer_schema=False)
    is_blank = pl.int_range(pl.len()) % 3 == 0
    table = table.with_columns(attr_1=pl.when(is_blank).then(pl.lit("N/A")).otherwise("attr_1"))
    table.write_csv(folder / "train.csv")
    return folder


@pytest.fixture
def run(tiny_model: Path) -> Run:
    """Run a command with the tiny model."""

    def invoke(command: str, *words: object) -> Result:
        line = [command, tiny_model, *words, "--engine", "torch"]
        result = CliRunner(env={"COLUMNS": "100"}).invoke(main.app, [str(word) for word in line])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def test_blanks_are_filled_and_taken_back(run: Run, shop: Path, tmp_path: Path) -> None:
    table, out = shop / "train.csv", tmp_path / "filled.csv"
    first = run("fill", shop, "-o", out, "--with-source")
    before, after = (pl.read_csv(each, infer_schema=False) for each in (table, out))
    assert after.columns[: before.columns.index("attr_1") + 2][-1] == "attr_1 source"
    assert after.drop(pl.selectors.ends_with(" source")).columns == before.columns
    filled = after.filter(pl.col("attr_1 source").str.starts_with("model "))
    assert filled.height > 20
    assert re.fullmatch(r"model \S+ \d{4}-\d\d-\d\d", filled["attr_1 source"][0])
    assert f"cells filled in {out}" in first.stdout
    again = run("fill", shop, "-o", out, "--undo")
    assert "taken back" in again.stdout
    assert out.read_bytes() == table.read_bytes()


def test_what_was_filled_in_is_no_label(run: Run, tiny_model: Path, shop: Path) -> None:
    run("fill", shop, "-o", shop / "train.csv", "--only", "attr_1")
    for command in ("calibrate", "evaluate"):
        refused = CliRunner().invoke(main.app, [command, str(tiny_model), str(shop)])
        assert isinstance(refused.exception, FacetryError)
        assert "were filled in by a model: they are no labels" in refused.exception.message


def test_a_filled_table_cannot_be_trained_on(run: Run, tiny_recipe: Recipe, shop: Path) -> None:
    run("fill", shop, "-o", shop / "train.csv")
    with pytest.raises(CatalogueError, match="they are no labels"):
        train(tiny_recipe, open_catalogue(shop), shop / "model")
    run("fill", shop, "-o", shop / "train.csv", "--undo")
    require_own_labels(open_catalogue(shop))


def test_predict_writes_the_table_filled_in(run: Run, shop: Path, tmp_path: Path) -> None:
    result = run("predict", shop / "train.csv", "-o", tmp_path / "out")
    assert "submission.csv, problems.csv, filled.csv" in result.stdout
    run("fill", shop / "train.csv", "-o", tmp_path / "filled.csv")
    assert (tmp_path / "out" / "filled.csv").read_bytes() == (tmp_path / "filled.csv").read_bytes()


def test_a_shop_gets_a_submission_only_if_asked_for(run: Run, shop: Path, tmp_path: Path) -> None:
    (shop / "category_attributes.parquet").unlink()
    table = shop / "test.csv"
    plain = run("predict", table, "-o", tmp_path / "out")
    assert "submission.csv" not in plain.stdout
    assert not (tmp_path / "out" / "submission.csv").exists()
    asked = run("predict", table, "-o", tmp_path / "out", "--submission")
    assert "submission.csv" in asked.stdout


def test_another_format_is_refused_before_anything_is_read(run: Run, shop: Path, tmp_path: Path) -> None:
    result = run("fill", shop, "-o", tmp_path / "filled.xlsx")
    assert isinstance(result.exception, FacetryError)
    assert "filled in as .csv" in result.exception.message
