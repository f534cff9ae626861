"""`facetry predict`, end to end in one process."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from facetry.batch import local, runner
from facetry.batch.snapshot import precisions_of
from facetry.build.load import load
from facetry.catalogue.catalogue import open_catalogue
from facetry.cli import main
from facetry.engines.engine import EngineConfig
from facetry.errors import CatalogueError, FacetryError
from facetry.runtime.signals import Stopped

Run = Callable[..., Result]


@pytest.fixture
def run(tiny_model: Path, drawn: Path, tmp_path: Path) -> Run:
    """Predict the drawn test table into `filled`."""

    def invoke(*words: object, table: Path = drawn / "test.csv") -> Result:
        command = ["predict", tiny_model, table, "-o", tmp_path / "filled", "--engine", "torch", *words]
        result = CliRunner(env={"COLUMNS": "100"}).invoke(main.app, [str(word) for word in command])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def summary(said: str) -> list[str]:
    """What is on standard output, without times."""
    return [line.partition(" s, ")[0].rpartition("; ")[0] or line for line in said.splitlines()]


def test_first_and_again(run: Run, drawn: Path, tmp_path: Path) -> None:
    first = run("--shard-rows", 10)
    num_rows = pl.read_csv(drawn / "test.csv").height
    lines = summary(first.stdout)
    assert lines[0].endswith("not.")
    assert f"{num_rows} rows scored now" in lines
    written = f"Written to {tmp_path / 'filled'}: predictions.parquet, submission.csv, problems.csv"
    assert lines[-1] == written
    before = (tmp_path / "filled" / "predictions.parquet").read_bytes()

    again = summary(run("--shard-rows", 10).stdout)
    assert again[0] == lines[0]
    assert any(line.endswith("unchanged rows reused") for line in again)
    assert (tmp_path / "filled" / "predictions.parquet").read_bytes() == before


def test_another_engine_is_another_model(run: Run) -> None:
    run("--engine", "torch")
    again = run("--engine", "torch", "--dtype", "fp32")
    assert "rows reused" in again.stdout
    openvino = run("--engine", "openvino")
    assert "Engine: OpenVINO" in openvino.stderr
    assert "rows reused" in openvino.stdout, "both compute in fp32"


def test_what_an_engine_computes_in(tiny_model: Path) -> None:
    assert precisions_of(load(tiny_model)) == ()
    assert precisions_of(load(tiny_model, EngineConfig(name="torch"))) == ("fp32",)


def test_a_stopped_prediction_is_resumed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(local, "write_outputs", stop)
        stopped = run()
    assert stopped.exit_code == 130
    assert stopped.stdout == "Stopped. Run the same command again to resume.\n"
    gone_on = run()
    assert "rows were already done when the run was stopped." in gone_on.stderr
    assert "0 rows scored now, " in gone_on.stdout
    assert "already done" in gone_on.stdout


def test_sigterm_is_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr(runner, "score_shard", stop)
    result = run()
    assert result.exit_code == 0
    assert result.stdout == "Stopped by SIGTERM. Run the same command again to resume.\n"


def test_a_table_without_photos(run: Run, drawn: Path, tmp_path: Path) -> None:
    shutil.copy(drawn / "test.csv", tmp_path)
    error = run(table=tmp_path / "test.csv").exception
    assert isinstance(error, CatalogueError)
    assert "has no photo folder" in error.message
    assert not (tmp_path / "filled").exists()


def test_a_photo_without_a_table_is_answered_on_the_terminal(tiny_model: Path, drawn: Path) -> None:
    product = open_catalogue(drawn / "test.csv").products()[0]
    photo = product.photos[0]
    words = ["predict", tiny_model, photo, "--category", product.category.lower(), "--engine", "torch"]
    said = CliRunner(env={"COLUMNS": "100"}).invoke(main.app, [str(word) for word in words])
    assert said.exit_code == 0, said.output
    assert photo.name in said.stdout
    for attribute in load(tiny_model).taxonomy.attributes(product.category):
        assert attribute in said.stdout
    unknown = CliRunner().invoke(main.app, [str(word) for word in [*words[:3], "--category", "Hats"]])
    assert "The model has no category 'Hats'." in str(unknown.exception)


def test_a_folder_of_photos_without_a_table_fills_the_usual_folder(
    run: Run, drawn: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for product in open_catalogue(drawn / "test.csv").products()[:4]:
        folder = photos / product.category.upper()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(product.photos[0], folder)
    (folder / "broken.jpg").write_text("Dear customer,")
    assert run(table=photos).exit_code == 0
    predictions = pl.read_parquet(tmp_path / "filled" / "predictions.parquet")
    assert predictions["id"].n_unique() == 4
    assert run(table=photos).stdout.count("unchanged rows reused") == 1
    problems = pl.read_csv(tmp_path / "filled" / "problems.csv")
    assert problems["id"].to_list() == [f"{folder.name}/broken.jpg"]


def test_a_table_has_its_own_categories(run: Run, tiny_model: Path, drawn: Path) -> None:
    assert "for photos without a table" in str(run("--category", "Sarees").exception)
    words = ["predict", str(tiny_model), str(drawn / "test.csv")]
    assert "Name one with --out" in str(CliRunner().invoke(main.app, words).exception)
