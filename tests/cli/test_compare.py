"""`facetry compare` prints the table, names the files, and fails if a row did."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.errors import SettingError
from facetry.recipe import ClassifierRecipe, dump_recipe

MakeRecipe = Callable[..., ClassifierRecipe]


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["compare", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def recipe(make_recipe: MakeRecipe, tmp_path: Path) -> Path:
    path = tmp_path / "large.yaml"
    path.write_text(dump_recipe(make_recipe(backbone={"name": "ViT-H-14-quickgelu"})))
    return path


@pytest.mark.slow
def test_a_rehearsal_then_a_row_that_fails(recipe: Path, drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = (
        "-c",
        drawn,
        "-o",
        out,
        "--nano",
        "--set",
        "training.epochs=1",
        "--set",
        "split.method=random",
    )
    code, printed = run(recipe, *options)
    assert code == 0
    assert "the scores say nothing" in printed
    assert f"Leaderboard: {out / 'leaderboard'}.html" in printed
    assert (out / "leaderboard.md").is_file()
    code, printed = run(recipe, *options, "--set", "large:backbone.weights=/nowhere.safetensors")
    assert code == 1
    assert "large failed: There is no weights file '/nowhere.safetensors'" in printed


def test_wrong_options_are_refused_before_any_work(recipe: Path, drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="Two rows"):
        run(recipe, recipe, "-c", drawn, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
