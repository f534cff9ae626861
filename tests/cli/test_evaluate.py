"""`facetry evaluate` on damaged photos, end to end."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.split import PARTS, Split
from facetry.cli import main
from facetry.errors import FacetryError
from facetry.evaluation.robustness import scores
from facetry.images.corruptions import CORRUPTIONS

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    runner = CliRunner(env={"COLUMNS": "100"})

    def invoke(*words: object) -> Result:
        result = runner.invoke(main.app, ["evaluate", *(str(word) for word in words)])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def test_scores_every_corruption(run: Run, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "damaged"
    done = run(tiny_model, drawn, "--corruptions", "--out", out)
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= 100
    for corruption in CORRUPTIONS.values():
        assert corruption.title in done.output
    assert str(out) in done.output
    figures = json.loads((out / "corruptions.json").read_text())
    assert set(figures["corruptions"]) == set(CORRUPTIONS)
    clean = json.loads((tiny_model / "metrics.json").read_text())["test"]["total"]
    assert figures["clean"] == pytest.approx(clean)
    assert figures["mean"] < clean
    assert (out / "corruptions.html").stat().st_size > 50_000


def test_a_stopped_run_resumes(
    run: Run, tiny_model: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        tiny_model,
        drawn,
        "--corruption",
        "noise",
        "--corruption",
        "jpeg",
        "--out",
        tmp_path / "out",
    )
    done = []
    score_kind = scores._score_kind

    def stop_at_the_second(*arguments: object) -> scores.DamagedScores:
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return score_kind(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(scores, "_score_kind", stop_at_the_second)
        assert "Run the same command again" in run(*words).output
    kept = tmp_path / "out" / "scores" / "noise.json"
    before = kept.stat().st_mtime_ns
    assert "JPEG damage" in run(*words).output
    assert kept.stat().st_mtime_ns == before
    figures = json.loads((tmp_path / "out" / "corruptions.json").read_text())
    assert list(figures["corruptions"]) == ["noise", "jpeg"]


def test_another_part_is_another_job(run: Run, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    words = ("--corruption", "jpeg", "--out", tmp_path / "out")
    run(tiny_model, drawn, *words)
    refused = run(tiny_model, drawn, "--part", "validation", *words)
    assert "was made with another products" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corruption", "noize"], "Did you mean 'noise'?"),
        (["--out", "somewhere"], "Add --corruptions"),
    ],
)
def test_wrong_options_are_refused_before_the_model_is_loaded(
    run: Run, words: list[str], message: str
) -> None:
    assert message in str(run("no-model", "no-catalogue", *words).exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "openvino"], "Engine: OpenVINO"),
        (["--engine", "torch"], ""),
        (["--engine", "torch", "--dtype", "fp32"], "Engine: torch"),
    ],
)
def test_an_engine_scores_as_the_model_it_was_made_of(
    run: Run, tiny_model: Path, drawn: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    figures = tmp_path / "scores.json"
    done = run(tiny_model, drawn, "--json", figures, *words)
    metrics = json.loads((tiny_model / "metrics.json").read_text())["test"]
    assert json.loads(figures.read_text())["total"] == pytest.approx(metrics["total"], abs=1e-3)
    assert message in done.output
    assert ("Engine" in done.output) == bool(message)


def test_an_engine_that_cannot_run_the_model_is_refused(run: Run, tiny_model: Path, drawn: Path) -> None:
    refused = run(tiny_model, drawn, "--engine", "torch", "--dtype", "int8")
    assert "does not compute in int8" in str(refused.exception)
    assert "Invalid value for '--engine'" in run(tiny_model, drawn, "--engine", "tensorrt").output


@pytest.mark.parametrize(("part", "is_reported"), [("test", False), ("validation", True), ("all", True)])
def test_products_that_the_model_has_learned_from_are_reported(
    run: Run, tiny_model: Path, drawn: Path, part: str, is_reported: bool
) -> None:
    done = run(tiny_model, drawn, "--part", part)
    assert done.exit_code == 0
    assert ("has learned from, or was chosen by," in done.output) == is_reported


def test_values_that_the_split_trains_nobody_on_are_named(
    run: Run, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    catalogue = open_catalogue(drawn)
    product = next(each for each in catalogue.products() if each.labels)
    attribute, value = next(iter(product.labels.items()))
    is_alike = [
        each.category == product.category and each.labels.get(attribute) == value
        for each in catalogue.products()
    ]
    codes = np.where(is_alike, PARTS.index("test"), PARTS.index("train")).astype(np.int8)
    Split(codes).save(tmp_path / "split.csv", catalogue)
    shown = run(tiny_model, drawn, "--split", tmp_path / "split.csv").output
    assert "these answers can only be wrong" in shown
    assert f"  {product.category} / {attribute}: {value}" in shown.splitlines()
    assert "can only be wrong" not in run(tiny_model, drawn, "--part", "all").output
