"""`facetry fill-audit`: from a fill to answers that withdraw its promises, in one process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from facetry.catalogue.repairs.file import read_repairs
from facetry.cli import main
from facetry.confidence.fill_audit import FillAudit
from facetry.errors import FacetryError
from facetry.models.folder import ModelFolder, open_folder
from tests.confidence.audited import add_answers, calibrate

Run = Callable[..., Result]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> ModelFolder:
    """The tiny model, calibrated so that it promises to be right about everything."""
    shutil.copytree(tiny_model, tmp_path / "model")
    folder = open_folder(tmp_path / "model")
    calibrate(folder, [130] * folder.taxonomy.num_heads, confidence=0.01)
    return folder


@pytest.fixture
def shop(drawn: Path, tmp_path: Path) -> Path:
    """The drawn catalogue's labelled products, without any label."""
    folder = tmp_path / "shop"
    shutil.copytree(drawn, folder)
    table = pl.read_csv(folder / "train.csv", infer_schema=False)
    blanks = {column: pl.lit("") for column in table.columns if column.startswith("attr_")}
    table.with_columns(**blanks).write_csv(folder / "train.csv")
    return folder


@pytest.fixture
def run(model: ModelFolder) -> Run:
    """Run a command with the model."""

    def invoke(command: str, *words: object) -> Result:
        line = [command, model.path, *words]
        result = CliRunner(env={"COLUMNS": "100"}).invoke(main.app, [str(word) for word in line])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        assert all(len(row) <= 100 for row in result.stdout.splitlines() if "─" in row)
        return result

    return invoke


def answer(sample: Path, texts: list[str]) -> pl.DataFrame:
    """Write answers into a sample, from the first row on, and return it as it was."""
    frame = pl.read_csv(sample, infer_schema=False)
    given = [*texts, *[""] * frame.height][: frame.height]
    frame.with_columns(answer=pl.Series(given)).write_csv(sample)
    return frame


def test_from_a_fill_to_a_withdrawn_promise(
    run: Run, model: ModelFolder, shop: Path, tmp_path: Path
) -> None:
    filled, sample, repairs = tmp_path / "filled.csv", tmp_path / "sample.csv", tmp_path / "r.csv"
    run("fill", shop, "-o", filled, "--precision", 0.95, "--engine", "torch")
    drawn = run("fill-audit", filled, "-o", sample, "-c", shop)
    assert "cells to ask people about are in" in drawn.stdout
    asked = answer(sample, ["not visible"] * 3)
    assert asked.height >= 5
    assert set(asked["answer"]) <= {None, ""}
    assert "value" not in asked.columns

    first = run("fill-audit", "--answers", sample, "--who", "asha", "--repairs", repairs)
    assert f"3 answers in {sample}, 3 of them new; {asked.height - 3} cells have none." in first.stdout
    assert "0 labels that people gave" in first.stdout
    assert "kept" in first.stdout
    again = run("fill-audit", "--answers", sample)
    assert "3 answers" in again.stdout
    assert "0 of them new" in again.stdout

    cells = FillAudit.of(model).drawn
    answer(sample, cells["value"].to_list())
    run("fill-audit", "--answers", sample, "--repairs", repairs)
    assert read_repairs(repairs).height == asked.height
    assert set(read_repairs(repairs)["chosen"]) == {"random"}


def test_a_withdrawn_promise_is_said_and_left_open(
    run: Run, model: ModelFolder, shop: Path, tmp_path: Path
) -> None:
    add_answers(model, 0, ["not visible"] * 30)
    name = model.taxonomy.heads[0].name
    shown = run("fill-audit")
    assert f"{name}: the promise of 0.95 was withdrawn after" in shown.stdout
    assert "0 of 30 filled values are right" in shown.stdout
    done = run("fill", shop, "-o", tmp_path / "filled.csv", "--precision", 0.95, "--engine", "torch")
    assert f"Withdrawn, as too few filled values were right: {name}." in done.stdout
    assert "to review" in done.stdout
    assert "withdrawn" in run("calibrate").stdout

    calibrate(model, [130] * model.taxonomy.num_heads, confidence=0.02)
    anew = run("fill-audit")
    assert "30 answers from before it was calibrated again are kept, but do not count" in anew.stdout


def test_a_sample_of_what_predict_has_filled(run: Run, shop: Path, tmp_path: Path) -> None:
    table, out, sample = shop / "train.csv", tmp_path / "out", tmp_path / "sample.xlsx"
    run("predict", table, "-o", out, "--precision", 0.95, "--engine", "torch")
    drawn = run("fill-audit", out / "filled.csv", "-o", sample, "-c", table, "--cells", 2)
    assert "2 cells to ask people about are in" in drawn.stdout
    assert "more are due" in drawn.stdout
    assert "0 answers in" in run("fill-audit", "--answers", sample, "-c", table).stdout


def test_answers_that_are_no_values_are_named_and_nothing_is_stored(
    run: Run, model: ModelFolder, shop: Path, tmp_path: Path
) -> None:
    filled, sample = tmp_path / "filled.csv", tmp_path / "sample.csv"
    run("fill", shop, "-o", filled, "--precision", 0.95, "--engine", "torch")
    run("fill-audit", filled, "-o", sample, "-c", shop, "--cells", 4)
    answer(sample, ["not visible", "no such value"])
    refused = run("fill-audit", "--answers", sample)
    assert isinstance(refused.exception, FacetryError)
    assert "row 3: 'no such value' is no value of" in refused.exception.message
    assert FillAudit.of(model).answers.is_empty()
    assert run("fill-audit", filled, "-o", sample, "-c", shop).exit_code != 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["filled.csv"], "A sample is drawn of a file and written to another"),
        (["-o", "sample.csv"], "A sample is drawn of a file and written to another"),
        (["--who", "asha"], "--who and --repairs are about answers"),
        (["filled.csv", "-o", "sample.txt"], "cannot be written to sample.txt"),
        (["--answers", "nowhere.csv"], "There is no file 'nowhere.csv'"),
    ],
)
def test_what_cannot_be_asked_for(run: Run, words: list[str], message: str) -> None:
    refused = run("fill-audit", *words)
    assert isinstance(refused.exception, FacetryError)
    assert message in refused.exception.message


def test_without_answers_that_is_what_is_said(run: Run) -> None:
    assert "There are no answers yet" in run("fill-audit").stdout
