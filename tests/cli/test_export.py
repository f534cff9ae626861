"""`facetry export`: what is shown, and with which exit code it ends."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from facetry.cli import main
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.demo.garments.config import FaultRates
from facetry.engines import parity
from facetry.errors import ExportError, FacetryError, ModelFolderError

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


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "catalogue"
    rates = FaultRates.model_validate(dict.fromkeys(FaultRates.model_fields, 0))
    draw_catalogue(folder, SampleConfig(num_products=210, seed=3, size_px=64, test_share=0, rates=rates))
    return folder


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_the_table_the_files_and_the_way_out_of_a_refusal(
    run: Run, model: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("export", model, "--to", "openvino", "-c", many)
    done = run(*words)
    assert done.exit_code == 0
    assert "passed" in done.output
    assert "210 products. Required: 99.9% agreement." in done.output
    assert f"Export: {model / 'engines' / 'openvino'} (" in done.output
    table = [line for line in done.stdout.splitlines() if str(model) not in line]  # a path is not broken
    assert max(map(len, table)) <= 100

    again = run(*words)
    assert "exists already" in again.output
    assert "passed" not in again.output

    monkeypatch.setattr(parity, "MIN_AGREEMENT", 1.1)
    refused = run(*words, "--photos", 205)
    assert isinstance(refused.exception, ExportError)
    assert "refused" in refused.output
    assert (model / "engines" / "openvino" / "checksums.json").is_file()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("--to", "openvino"), "--catalogue"),
        (("-c", "x"), "--to"),
        (("-c", "x", "--to", "tensorrt"), "'openvino', 'onnx'"),
        (("-c", "x", "--to", "onnx", "--photos", "199"), "200"),
        (("-c", "x", "--to", "onnx", "--calibration", "0"), "1"),
    ],
)
def test_options_that_are_not_allowed(run: Run, model: Path, words: tuple[str, ...], shown: str) -> None:
    result = run("export", model, *words)
    assert result.exit_code == 2
    assert shown in result.output


def test_what_is_no_model_folder_or_a_newer_one(
    run: Run, model: Path, many: Path, tmp_path: Path
) -> None:
    missing = run("export", tmp_path / "none", "--to", "onnx", "-c", many).exception
    assert isinstance(missing, ModelFolderError)
    sums = model / "checksums.json"
    sums.write_text(sums.read_text().replace('"format": 1', '"format": 99'))
    newer = run("export", model, "--to", "onnx", "-c", many).exception
    assert isinstance(newer, ModelFolderError)
    assert "format 99" in newer.message
    assert "Update Facetry" in newer.hint
