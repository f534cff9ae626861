"""Every job that writes a folder, killed at ten random moments, ends as an unbroken one does."""

import json
from pathlib import Path

import polars as pl
import pytest

from facetry.audit.run import audit_catalogue
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.evaluation.robustness.scores import DamagedScores, ScoreCache
from facetry.experiments.compare.entries import read_entries
from facetry.experiments.compare.run import compare
from facetry.experiments.tune.config import TuneConfig
from facetry.experiments.tune.run import tune
from facetry.experiments.tune.space import Space
from facetry.images.corruptions import CORRUPTIONS
from facetry.recipe import ClassifierRecipe, Recipe
from tests.conftest import MakeRecipe
from tests.runtime.killing import kill_at_random

pytestmark = pytest.mark.slow
LEAST = 5
"""How often a job must be killed at least for the test to be meaningful."""


def train_model(recipe: Recipe, drawn: Path, out: Path) -> None:
    train(recipe, open_catalogue(drawn), out)


def test_training_with_a_teacher(
    make_recipe: MakeRecipe, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(
        teach={"model": str(tiny_model)},
        training={"epochs": 2, "batch_size": 16, "heads_lr": 1e-3, "save_every_s": 0},
        split={"validation": 0.2, "test": 0.2, "method": "random"},  # the teacher's
    )
    out = tmp_path / "killed" / "out"
    assert kill_at_random(out.parent, 60, train_model, recipe, drawn, out) >= LEAST
    train_model(recipe, drawn, out)
    train_model(recipe, drawn, tmp_path / "unbroken")
    sums = [(each / "checksums.json").read_text() for each in (out, tmp_path / "unbroken")]
    assert sums[0] == sums[1]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def audit_photos(drawn: Path, out: Path) -> None:
    audit_catalogue(open_catalogue(drawn), out)


def test_an_audit(drawn: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed" / "out"
    assert kill_at_random(out.parent, 25, audit_photos, drawn, out) >= LEAST
    for each in (out, tmp_path / "unbroken"):
        audit_photos(drawn, each)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "unbroken").iterdir()
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def compare_models(models: list[Path], drawn: Path, out: Path) -> None:
    compare(read_entries(models), open_catalogue(drawn), out)


def test_a_comparison(
    tiny_model: Path, tiny_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    train(tiny_recipe.with_seed(1), open_catalogue(drawn), other, split=tiny_model / "split.parquet")
    models = [tiny_model, other]
    out = tmp_path / "killed" / "out"
    assert kill_at_random(out.parent, 20, compare_models, models, drawn, out) >= LEAST
    boards = []
    for each in (out, tmp_path / "unbroken"):
        compare_models(models, drawn, each)
        rows = json.loads((each / "leaderboard.json").read_text())["rows"]
        boards.append([(row["name"], row["score"]) for row in rows])
    assert boards[0] == boards[1]
    assert not list(out.rglob("*.draft"))


def search_heads(space: Space, drawn: Path, out: Path) -> None:
    tune(space, open_catalogue(drawn), out, TuneConfig(num_trials=2, num_workers=1))


def test_a_search_for_settings(make_recipe: MakeRecipe, drawn: Path, tmp_path: Path) -> None:
    from facetry.experiments.tune.space import parse_space

    recipe = make_recipe(
        backbone={"name": "nano_convnext", "weights": "none", "frozen": True},
        training={"epochs": 2, "batch_size": 32, "heads_lr": 1e-3},
        split={"validation": 0.2, "test": 0.2, "method": "random"},
    )
    space = parse_space({"heads.hidden_dim": [8, 16]}, recipe)
    out = tmp_path / "killed" / "out"
    assert kill_at_random(out.parent, 12, search_heads, space, drawn, out) >= LEAST
    tables = []
    for each in (out, tmp_path / "unbroken"):
        search_heads(space, drawn, each)
        frame = pl.read_parquet(each / "trials.parquet").drop("seconds", "number")
        tables.append(frame.sort("heads.hidden_dim"))
    assert tables[0].equals(tables[1])
    assert not list(out.rglob("*.draft"))


def keep_scores(out: Path) -> None:
    """As an evaluation on damaged photos does with the scores of each kind."""
    with ScoreCache.open(out, {"model": "m"}) as cache:
        for kind, corruption in CORRUPTIONS.items():
            if cache.read(kind) is None:
                levels = tuple(corruption.levels)
                cache.write(DamagedScores(kind=kind, levels=levels, totals=(0.5,) * 5, heads=()))


def test_scores_on_damaged_photos(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kill_at_random(tmp_path, 12, keep_scores, out) >= LEAST
    keep_scores(out)
    assert {path.stem for path in (out / "scores").iterdir()} == set(CORRUPTIONS)
