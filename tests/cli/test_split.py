"""`facetry split`: a readable table, and a file that train and evaluate take."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from facetry.cli import main
from facetry.errors import FacetryError
from facetry.recipe import ClassifierRecipe, dump_recipe

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    runner = CliRunner(env={"COLUMNS": "100"})

    def invoke(*words: object) -> Result:
        result = runner.invoke(main.app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def table(drawn: Path, tmp_path: Path) -> Path:
    """The drawn table without its photos."""
    for name in ("train.csv", "category_attributes.parquet"):
        (tmp_path / name).write_bytes((drawn / name).read_bytes())
    return tmp_path / "train.csv"


def test_a_split_is_written_and_described(run: Run, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.parquet"
    shown = run("split", drawn, "-o", out, "--validation", 0.2, "--test", 0.2, "--seed", 1).output
    frame = pl.read_parquet(out)
    assert frame.columns == ["id", "part", "group"]
    parts = dict(frame["part"].value_counts().iter_rows())
    for part, target in (("train", "60.00%"), ("validation", "20.00%"), ("test", "20.00%")):
        assert re.search(rf"^ *{part} +{parts[part]} +\d+\.\d\d% +{target} ", shown, flags=re.MULTILINE)
    assert re.search(r"whole, 0 divided", shown)
    assert f"Written to {out}" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_the_same_command_gives_the_same_file(run: Run, table: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    for out in (first, second):
        assert "No photo folder" in run("split", table, "-o", out).output
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("method", ["random", "id_blocks"])
def test_other_methods_say_how_many_groups_they_cut(
    run: Run, drawn: Path, tmp_path: Path, method: str
) -> None:
    words = ["--method", method, "--block-size", 20, "--validation", 0.4, "--test", 0.4]
    shown = run("split", drawn, "-o", tmp_path / "split.csv", *words).output
    assert re.search(r"[1-9]\d* divided\.", shown)


def test_train_and_evaluate_on_a_fold(
    run: Run, drawn: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    recipe, model, folds = tmp_path / "recipe.yaml", tmp_path / "model", tmp_path / "folds.csv"
    recipe.write_text(dump_recipe(tiny_recipe))
    shown = run("split", drawn, "-o", folds, "--folds", 4).output
    assert re.search(r"^ *fold 3 +\d+ +\d+\.\d\d% +25\.00% ", shown, flags=re.MULTILINE)
    saved = pl.read_csv(folds)
    assert saved.columns == ["id", "fold", "group"]

    words = ["-c", drawn, "-o", model, "--set", "training.epochs=1", "--split", folds]
    assert "Name the one to test on with --fold" in str(run("train", recipe, *words).exception)
    run("train", recipe, *words, "--fold", 2)
    parts = saved.join(pl.read_parquet(model / "split.parquet"), on="id")
    expected = {0: {"train"}, 1: {"train"}, 2: {"test"}, 3: {"validation"}}
    for fold, names in expected.items():
        assert set(parts.filter(fold=fold)["part"]) == names
    assert parts["group"].equals(parts["group_right"])

    figures = tmp_path / "scores.json"
    run("evaluate", model, drawn, "--split", folds, "--fold", 2, "--json", figures)
    assert json.loads(figures.read_text()) == json.loads((model / "metrics.json").read_text())["test"]
    for command in (["evaluate", model, drawn], ["train", recipe, "-c", drawn, "-o", model]):
        refused = run(*command, "--fold", 2)
        assert "Name --split FILE" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "split.xlsx"], "'split.xlsx' is neither"),
        (["-o", "split.csv", "--validation", "0.5", "--test", "0.5"], "nothing to train on"),
        (["-o", "split.csv", "--test", "1"], "nothing to train on"),
        (["-o", "split.csv", "--folds", "2"], "--folds"),
        (["-o", "split.csv", "--folds", "5", "--method", "random"], "always stratified"),
        (["-o", "split.csv", "--folds", "100"], "at least 100 groups"),
        (["-o", "split.csv", "--seed", "-1"], "--seed"),
    ],
)
def test_what_cannot_be_split(
    run: Run, table: Path, words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(table.parent)
    refused = run("split", table, *words)
    assert refused.exit_code != 0
    assert message in " ".join(f"{refused.output} {refused.exception}".split())
    assert not Path(words[1]).exists()


def test_a_catalogue_of_one_product(run: Run, table: Path, tmp_path: Path) -> None:
    pl.read_csv(table, infer_schema=False).head(1).write_csv(table)
    refused = run("split", table, "-o", tmp_path / "split.csv")
    assert "catalogue has 1 (1 product)" in str(refused.exception)
