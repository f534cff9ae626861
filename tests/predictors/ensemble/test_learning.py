"""Ensembles that learn their weights, from recipe to model folder, report and back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facetry.build.load import load, load_plain
from facetry.build.results import FIXED, WHOLE, evaluate_members
from facetry.build.train import BuildOptions, train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split, read_split
from facetry.errors import ModelFolderError, NotEnoughData, RecipeError
from facetry.evaluation.metrics import evaluate
from facetry.predictors.ensemble import WEIGHTING, Ensemble, Gate, HeadWeights
from facetry.recipe import ClassifierRecipe, Recipe, dump_recipe, parse_recipe

MakeRecipe = Callable[..., ClassifierRecipe]

TRAINING = {"epochs": 2, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 2e-3}


@pytest.fixture(scope="module")
def describe(make_recipe: MakeRecipe) -> Callable[..., dict[str, Any]]:
    """Describe an ensemble of a trained network and hashes: members may be of any kind."""

    def make(**changes: Any) -> dict[str, Any]:
        vit = make_recipe(training=TRAINING, backbone={"name": "nano_vit", "weights": "none"})
        members = {
            "vit": vit.model_dump(mode="json"),
            "hashes": {"kind": "search", "hashes": ["phash", "colorhash"]},
        }
        split = {"validation": 0.3, "test": 0.3, "method": "random"}
        return {"kind": "ensemble", "members": members, "split": split, **changes}

    return make


@pytest.fixture(scope="module", params=["per_head", "gate"])
def learned(
    request: pytest.FixtureRequest,
    describe: Callable[..., dict[str, Any]],
    drawn: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Recipe]:
    recipe = parse_recipe(
        describe(weighting=request.param, prior_labels=20, weights={"vit": 2, "hashes": 1})
    )
    out = tmp_path_factory.mktemp(request.param) / "model"
    return train(recipe, open_catalogue(drawn), out), recipe


def test_weights_are_learned_on_the_validation_part_and_kept(
    learned: tuple[Path, Recipe], catalogue: Catalogue
) -> None:
    folder, _ = learned
    ensemble = load_plain(folder)
    assert isinstance(ensemble, Ensemble)
    assert isinstance(ensemble.weighting, HeadWeights | Gate)
    assert ensemble.weights == pytest.approx({"vit": 2 / 3, "hashes": 1 / 3})
    products = catalogue.products(read_split(folder / "split.parquet", catalogue).rows("validation"))

    def likelihood(weighted: Ensemble) -> float:
        predicted = evaluate(weighted, products).predictions
        found = []
        for row, product in enumerate(products):
            for slot, head in enumerate(ensemble.taxonomy.heads_of(product.category)):
                if (label := product.labels.get(head.attribute)) and not predicted.problems[row]:
                    found.append(predicted.probabilities[row, slot, head.values.index(label)])
        return float(np.log(np.maximum(found, 1e-9)).mean())

    assert likelihood(ensemble) > likelihood(Ensemble(ensemble.members, ensemble.weights))


def test_the_gain_is_measured_on_the_test_part(
    learned: tuple[Path, Recipe], catalogue: Catalogue
) -> None:
    folder, _ = learned
    metrics = json.loads((folder / "metrics.json").read_text())
    fixed = metrics["test"]["fixed_weights"]
    assert "fixed_weights" not in metrics["validation"]
    assert fixed["gain"] == pytest.approx(metrics["test"]["total"] - fixed["total"])
    low, high = fixed["gain_interval"]
    assert low <= fixed["gain"] <= high
    card = (folder / "README.md").read_text()
    assert "| learned weights | on the test part " in card
    assert f"against {fixed['total']:.4f}" in card
    products = catalogue.products(read_split(folder / "split.parquet", catalogue).rows("test"))
    evaluations = evaluate_members(load(folder), products)
    assert list(evaluations) == ["vit", "hashes", FIXED, WHOLE]
    assert evaluations[FIXED].scores.total == fixed["total"]
    assert evaluations[WHOLE].scores.total == metrics["test"]["total"]


def test_the_same_command_gives_the_same_files(
    learned: tuple[Path, Recipe], drawn: Path, tmp_path: Path
) -> None:
    folder, recipe = learned
    again = train(recipe, open_catalogue(drawn), tmp_path / "again")
    assert (again / "checksums.json").read_bytes() == (folder / "checksums.json").read_bytes()


def test_the_weights_are_part_of_what_is_checked(learned: tuple[Path, Recipe], tmp_path: Path) -> None:
    import shutil

    folder, _ = learned
    shutil.copytree(folder, tmp_path / "copy")
    file = tmp_path / "copy" / WEIGHTING
    file.write_text(file.read_text().replace("0.", "0.1", 1))
    with pytest.raises(ModelFolderError, match="checksum"):
        load(tmp_path / "copy")


def test_members_come_from_a_library(
    describe: Callable[..., dict[str, Any]], catalogue: Catalogue, tmp_path: Path
) -> None:
    members = {"hashes": describe()["members"]["hashes"]}
    recipe = parse_recipe(describe(members=members))
    options = BuildOptions(library=tmp_path / "library")
    for name in ("one", "two"):
        train(recipe, catalogue, tmp_path / name, options=options)
    (kept,) = (tmp_path / "library").iterdir()
    assert (kept / "recipe.yaml").samefile(tmp_path / "two" / "members" / "hashes" / "recipe.yaml")
    load(tmp_path / "one")


def test_a_split_without_validation_is_refused_before_anything_is_trained(
    describe: Callable[..., dict[str, Any]], catalogue: Catalogue, tmp_path: Path
) -> None:
    codes = np.where(np.arange(len(catalogue)) % 3 == 0, 2, 0).astype(np.int8)
    with pytest.raises(NotEnoughData, match="the split has none"):
        train(parse_recipe(describe(weighting="gate")), catalogue, tmp_path / "m", split=Split(codes))
    assert not (tmp_path / "m.partial" / "members").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weighting": "best"}, "'fixed', 'per_head' or 'gate'"),
        ({"weighting": "gate", "prior_labels": 0}, "greater than 0"),
        (
            {"weighting": "gate", "split": {"validation": 0, "test": 0.2}},
            "learned on a validation part",
        ),
        ({"weightings": "gate"}, "unknown key 'weightings'"),
    ],
)
def test_recipes_that_make_no_sense(
    describe: Callable[..., dict[str, Any]], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_recipe(describe(**change))


def test_fixed_is_the_default(describe: Callable[..., dict[str, Any]]) -> None:
    assert "weighting: fixed" in dump_recipe(parse_recipe(describe()))
