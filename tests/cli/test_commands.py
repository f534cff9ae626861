"""The command line, end to end in one process."""

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


def test_train_then_evaluate_then_predict(
    run: Run, drawn: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    recipe, model = tmp_path / "recipe.yaml", tmp_path / "model"
    recipe.write_text(dump_recipe(tiny_recipe))
    trained = run("train", recipe, "-c", drawn, "-o", model, "--set", "training.epochs=1")
    assert re.search(r"test: score 0\.\d{4} \(95% interval", trained.output)
    assert json.loads((model / "job.json").read_text())["recipe"]["training"]["epochs"] == 1

    report, figures = tmp_path / "report.html", tmp_path / "scores.json"
    evaluated = run("evaluate", model, drawn, "--per-head", "--report", report, "--json", figures)
    assert "ocassion" in evaluated.output
    assert json.loads(figures.read_text()) == json.loads((model / "metrics.json").read_text())["test"]
    assert report.stat().st_size > 10_000

    predicted = run("predict", model, drawn / "test.csv", "-o", tmp_path / "filled", "--format", "csv")
    assert "products predicted" in predicted.output
    rows = pl.read_csv(tmp_path / "filled" / "submission.csv", infer_schema=False)
    assert rows.height == pl.read_csv(drawn / "test.csv").height


def test_sample_then_check(run: Run, tmp_path: Path) -> None:
    drawn = run("sample", tmp_path / "catalogue", "--products", 20, "--size", 32, "--seed", 3)
    assert drawn.exit_code == 0
    assert "Drew 20 products" in drawn.output
    assert "categories" in run("check", tmp_path / "catalogue").output


def test_models_lists_cards_and_describes_a_folder(run: Run, tiny_model: Path) -> None:
    listed = run("models").output
    assert "convnext_xxlarge" in listed
    assert "not open" in listed
    assert "42 heads" in run("models", tiny_model).output


def test_mistakes_are_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["facetry", "predict", str(tmp_path / "[b]none"), "t.csv", "-o", "x"]
    )
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "[b]none' does not exist" in error
    assert "Traceback" not in error


def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FACETRY_DEBUG", raising=False)
    monkeypatch.setattr(
        "sys.argv", ["facetry", "--debug", "predict", str(tmp_path / "none"), "t.csv", "-o", "x"]
    )
    with pytest.raises(FacetryError):
        main.main()
    monkeypatch.setenv("FACETRY_DEBUG", "")


@pytest.mark.parametrize(
    "words",
    [
        ["train"],
        ["predict", "m"],
        ["sample", "x", "--products", "0"],
        ["evaluate", "m", "c", "--part", "x"],
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, words: list[str]) -> None:
    assert run(*words).exit_code == 2
