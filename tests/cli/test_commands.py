"""The command line, end to end in one process."""

import json
import re
import shutil
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.repairs import Repair, write_repairs
from facetry.cli import main
from facetry.cli.console import make_console, show_folder
from facetry.cli.evaluate import CORRUPTIONS as CORRUPTION_NAMES
from facetry.errors import FacetryError, ModelFolderError, SettingError, WeightsUnavailable
from facetry.images.corruptions import CORRUPTIONS
from facetry.models.folder import open_folder, write_checksums
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


def test_few_functions_are_between_the_command_and_the_backward_pass(
    drawn: Path,
    tiny_recipe: ClassifierRecipe,
    tmp_path: Path,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, backward = project / "src" / "facetry", torch.Tensor.backward
    stacks: list[list[traceback.FrameSummary]] = []

    def record(self: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        frames = traceback.extract_stack()
        stacks.append([each for each in frames if Path(each.filename).is_relative_to(source)])
        backward(self, *args, **kwargs)

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(tiny_recipe))
    words = ["train", recipe, "-c", drawn, "-o", tmp_path / "model", "--set", "training.epochs=1"]
    monkeypatch.setattr(torch.Tensor, "backward", record)
    monkeypatch.setattr(sys, "argv", ["facetry", *map(str, words)])
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # else `main` sets it for the tests after this one
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code in {None, 0}
    assert stacks
    for frames in stacks:
        assert frames[0].name == "main"
        assert len(frames) <= 8, [each.name for each in frames]
        assert len({each.filename for each in frames}) <= 5, [each.filename for each in frames]


def test_sample_then_check(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "o[/b]"
    drawn = run("sample", folder, "--products", 20, "--size", 32, "--seed", 3)
    assert drawn.exit_code == 0
    assert f"Drew 20 products into {folder}." in drawn.output
    assert "categories" in run("check", folder).output


def test_repairs_are_named_wherever_labels_are_read(
    run: Run, drawn: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    recipe, model, repairs = (tmp_path / name for name in ("recipe.yaml", "model", "repairs.csv"))
    recipe.write_text(dump_recipe(tiny_recipe))
    product = next(each for each in open_catalogue(drawn).products() if each.labels)
    attribute, old = next(iter(product.labels.items()))
    repair = Repair(id=product.id, category=product.category, attribute=attribute, old=old)
    write_repairs(repairs, [repair, repair])
    sentence = "Repairs of labels: 1 applied, 1 not"
    named = ("--repairs", repairs)
    trained = run("train", recipe, "-c", drawn, "-o", model, "--set", "training.epochs=1", *named)
    assert sentence in trained.output
    assert "--repairs" in str(run("evaluate", model, drawn).exception)
    assert sentence in run("evaluate", model, drawn, *named).output
    checked = run("check", drawn, "--photos", "none", *named).output
    assert "Repair file: the label already" in checked
    missing = run("check", drawn, "--photos", "none", "--repairs", tmp_path / "none.csv").output
    assert "There is no repair file" in missing


def test_evaluate_reports_what_it_cannot_score(
    run: Run, drawn: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """On another table with an unknown value and an unknown category; and on one without labels."""
    table, images = tmp_path / "other.csv", drawn / "train_images"
    frame = pl.read_csv(drawn / "train.csv", infer_schema=False).head(6)
    first, second = pl.int_range(pl.len()) == 0, pl.int_range(pl.len()) == 1
    frame.with_columns(
        pl.when(first).then(pl.lit("unheard of")).otherwise("attr_1").alias("attr_1"),
        pl.when(second).then(pl.lit("Hats")).otherwise("Category").alias("Category"),
    ).write_csv(table)
    (tmp_path / "category_attributes.parquet").write_bytes(
        (drawn / "category_attributes.parquet").read_bytes()
    )
    refused = run("evaluate", tiny_model, table, "--images", images)
    assert "is not the table" in str(refused.exception)
    assert "--part all" in str(refused.exception)
    scored = run("evaluate", tiny_model, table, "--images", images, "--part", "all").output
    assert "Labels not in the model's taxonomy, scored as wrong: 1" in scored
    assert "products of an unknown category, not scored: 1" in scored

    both = run("evaluate", tiny_model, drawn, "--part", "all", "--split", tiny_model / "split.parquet")
    assert "--split has no effect" in str(both.exception)

    blank = run("evaluate", tiny_model, drawn / "test.csv", "--part", "all")
    assert "no label to score against" in str(blank.exception)
    split = tmp_path / "split.csv"
    split.write_text("id,part\n" + "".join(f"{each},train\n" for each in frame["id"]))
    empty = run("evaluate", tiny_model, table, "--images", images, "--split", split)
    assert "The split has no test product." in str(empty.exception)


def test_without_photos_every_command_stops(
    run: Run, drawn: Path, tiny_model: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    for name in ("train.csv", "category_attributes.parquet"):
        (tmp_path / name).write_bytes((drawn / name).read_bytes())
    (tmp_path / "recipe.yaml").write_text(dump_recipe(tiny_recipe))
    out = tmp_path / "out"
    for words in (
        ["predict", tiny_model, tmp_path / "train.csv", "-o", out],
        ["evaluate", tiny_model, tmp_path, "--part", "all"],
        ["train", tmp_path / "recipe.yaml", "-c", tmp_path, "-o", out],
    ):
        assert "Name it with --images" in str(run(*words).exception)
    assert not out.exists()


def test_predict_takes_a_catalogue_s_folder_as_every_command_does(
    run: Run, drawn: Path, tiny_model: Path, tmp_path: Path
) -> None:
    done = run("predict", tiny_model, drawn, "-o", tmp_path / "out", "--engine", "torch")
    num_products = pl.read_csv(drawn / "train.csv").height
    assert f"{num_products:,} rows scored now" in done.output


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("predict", ["-o", "x"]),
        ("fill", ["-o", "x.csv"]),
        ("evaluate", []),
        ("export", ["--to", "onnx"]),
    ],
)
def test_swapped_arguments_are_recognised(
    run: Run, drawn: Path, tiny_model: Path, command: str, words: list[str]
) -> None:
    arguments = [drawn, "-c", tiny_model] if command == "export" else [drawn, tiny_model]
    error = run(command, *arguments, *words).exception
    assert isinstance(error, SettingError)
    assert "the arguments are swapped" in error.message
    assert error.hint.endswith(f"facetry {command} {tiny_model} {drawn}")


@pytest.mark.parametrize("words", [["-h"], ["predict", "-h"]])
def test_a_short_option_for_help(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_version(run: Run) -> None:
    assert run("--version").output == f"facetry {version('facetry')}\n"


def test_help_lists_allowed_names(run: Run) -> None:
    assert ", ".join(CORRUPTIONS) == CORRUPTION_NAMES
    help_text = " ".join(run("evaluate", "-h").output.split())
    assert CORRUPTION_NAMES in help_text
    assert "auto|torch|openvino|onnxruntime" in help_text
    assert "grid, random or tpe" in " ".join(run("tune", "-h").output.split())


def test_weights_that_are_not_there_are_refused_at_once(run: Run, tmp_path: Path) -> None:
    words = ("train", "mobilenetv2_frozen", "-c", tmp_path, "-o", tmp_path / "model")
    refused = run(*words, "--weights", tmp_path / "none.pt")
    assert refused.exit_code == 2
    assert "does not exist" in refused.output


def test_train_without_weights_names_the_file_to_download(run: Run, drawn: Path, tmp_path: Path) -> None:
    error = run("train", "mobilenetv2_frozen", "-c", drawn, "-o", tmp_path / "model").exception
    assert isinstance(error, WeightsUnavailable)
    assert "Download model.safetensors of timm/mobilenetv2_100" in error.hint
    assert "--weights FILE" in error.hint
    assert not list(tmp_path.iterdir()), "said before any photo was read"


def test_sample_refuses_an_existing_folder_before_it_begins(run: Run, drawn: Path) -> None:
    refused = run("sample", drawn)
    assert "exists and is not an empty folder" in str(refused.exception)
    assert "Drawing" not in refused.output


def test_models_lists_cards_and_describes_a_folder(run: Run, tiny_model: Path) -> None:
    listed = run("models").output
    assert "convnext_xxlarge" in listed
    assert "not open" in listed
    assert "42 heads" in run("models", tiny_model).output


@pytest.mark.parametrize("backbone", [{"a": {}}, "nano_vit", [1]])
def test_models_names_a_recipe_that_is_none(tiny_model: Path, tmp_path: Path, backbone: object) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "backbone": backbone}))
    write_checksums(folder)
    with pytest.raises(ModelFolderError, match=r"recipe\.yaml is damaged"):
        show_folder(make_console(), open_folder(folder))


def test_user_errors_are_one_message_and_exit_code_2(
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


def test_system_errors_are_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "a[/b]file" / "drawn"
    out.parent.parent.mkdir()
    out.parent.write_text("")
    monkeypatch.setattr("sys.argv", ["facetry", "sample", str(out), "--products", "1", "--size", "32"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Error: Cannot read or write" in error
    assert "a[/b]file" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("place", [1, 2, 6])
def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: int) -> None:
    monkeypatch.setenv("FACETRY_DEBUG", "")  # which `main` changes: so it is put back
    words = ["facetry", "predict", str(tmp_path / "none"), "t.csv", "-o", "x"]
    monkeypatch.setattr("sys.argv", [*words[:place], "--debug", *words[place:]])
    with pytest.raises(FacetryError):
        main.main()


@pytest.mark.parametrize(
    "words",
    [
        ["train"],
        ["predict", "m"],
        ["sample", "x", "--products", "0"],
        ["sample", "x", "--seed", "-1"],
        ["demo", "--seed", str(2**32)],
        ["evaluate", "m", "c", "--part", "x"],
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_a_service_that_is_not_known_is_refused_before_any_work(
    run: Run, drawn: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(tiny_recipe))
    result = run("train", recipe, "-c", drawn, "-o", tmp_path / "model", "--track", "wandbb")
    assert "Unknown service 'wandbb'" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
