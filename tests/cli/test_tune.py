"""`facetry tune` prints the best trials and the files; wrong options are refused first."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from facetry.cli.main import app
from facetry.errors import FacetryError, RecipeError, SettingError

RECIPE = """\
backbone: {name: nano_convnext, weights: none, frozen: true}
heads: {hidden_dim: 8}
training: {epochs: 1, batch_size: 32, heads_lr: 1.0e-3}
split: {validation: 0.2, test: 0.2, method: random}
"""


def run(*arguments: str | Path) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["tune", *map(str, arguments)])
    if result.exception:
        raise result.exception
    assert result.exit_code == 0
    return result.output


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A recipe and a search space for it."""
    recipe, space = tmp_path / "recipe.yaml", tmp_path / "space.yaml"
    recipe.write_text(RECIPE)
    space.write_text("training.heads_lr: [1e-3, 1e-2]\ntraining.milestones: [[4], [4, 6]]\n")
    return recipe, space


def test_shows_the_best_trials_and_names_the_files(
    files: tuple[Path, Path], drawn: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("-c", drawn, "-o", out, "--trials", "3", "--workers", "1")
    printed = run(*files, *options, "--set", "heads.dropout=0.2")
    assert "3 trials: 3 trained to the end, 0 stopped early, 0 failed." in printed
    assert "heads_lr" in printed
    assert "[4, 6]" in printed
    assert f"Best recipe: {out / 'best.yaml'}" in printed
    assert f"Report: {out / 'report.html'}" in printed
    assert "model folder" not in printed
    assert "dropout: 0.2" in (out / "best.yaml").read_text()
    assert all(len(line) <= 100 for line in printed.splitlines() if not line.startswith("Trial"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (("--sampler", "tp"), SettingError, "Unknown sampler 'tp'"),
        (("--set", "trainin.epochs=2"), RecipeError, "unknown key 'trainin'"),
        (("--sampler", "random", "--fold", "1"), FacetryError, "fold"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    options: tuple[str, ...], error: type[FacetryError], message: str,
    files: tuple[Path, Path], drawn: Path, tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(error, match=message):
        run(*files, "-c", drawn, "-o", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()
