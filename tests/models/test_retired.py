"""Keys that recipes no longer have: models trained with them load, recipes to train are refused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import FolderMismatch, RecipeError
from facetry.models.classifier.classifier import Classifier
from facetry.models.folder import open_folder, write_checksums
from facetry.models.retired import without_retired
from facetry.recipe import parse_recipe

NANO = {"name": "nano_vit", "weights": "none"}
OFF = {"keep_start": 0.0, "loss": {"focal_gamma": 0.0, "logit_adjustment": 0.0}}
ON = {"keep_start": "auto", "loss": {"focal_gamma": 2.0, "logit_adjustment": 1.0}}

Change = Callable[[dict[str, Any]], Mapping[str, Any]]


def with_training(training: dict[str, Any]) -> Change:
    """Add retired keys to a recipe's training."""

    def change(recipe: dict[str, Any]) -> Mapping[str, Any]:
        loss = {**recipe["training"]["loss"], **training["loss"]}
        return {**recipe, "training": {**recipe["training"], **training, "loss": loss}}

    return change


def as_soup(recipe: dict[str, Any]) -> Mapping[str, Any]:
    shared = {key: recipe[key] for key in ("seed", "split")}
    return {"kind": "soup", **shared, "members": {"a": recipe, "b": recipe}, "how": "greedy"}


def of_before(model: Path, folder: Path, change: Change) -> Path:
    """A copy of a finished model folder whose recipe is one of an earlier version."""
    copytree(model, folder)
    recipe = change(yaml.safe_load((folder / "recipe.yaml").read_text()))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    job = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**job, "recipe": recipe}))
    write_checksums(folder)
    return folder


@pytest.mark.parametrize("change", [with_training(OFF), with_training(ON), as_soup])
def test_trained_models_load(tiny_model: Path, tmp_path: Path, change: Change) -> None:
    folder = of_before(tiny_model, tmp_path / "before", change)
    assert open_folder(folder).kind == "classifier"
    assert isinstance(load_plain(folder), Classifier)
    assert open_folder(folder).recipe == open_folder(tiny_model).recipe
    expected = load_file(tiny_model / "weights.safetensors")
    assert load_plain(folder).state_dict().keys() == expected.keys()  # type: ignore[attr-defined]


def test_members_are_read_alike() -> None:
    recipe = parse_recipe({"backbone": NANO}).model_dump(mode="json")
    for member in (with_training(ON)(recipe), as_soup(recipe)):
        assert without_retired({"kind": "ensemble", "members": {"a": member}})["members"]["a"] == recipe


@pytest.mark.parametrize(("training", "is_same"), [(OFF, True), (ON, False)], ids=["off", "on"])
def test_the_same_command_finds_its_work_done_where_the_keys_were_off(
    catalogue: Catalogue,
    tiny_model: Path,
    tmp_path: Path,
    training: dict[str, Any],
    is_same: bool,
) -> None:
    folder = of_before(tiny_model, tmp_path / "before", with_training(training))
    recipe = parse_recipe(open_folder(tiny_model).recipe)
    if is_same:
        assert train(recipe, catalogue, folder) == folder
    else:
        with pytest.raises(FolderMismatch, match="another recipe"):
            train(recipe, catalogue, folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"training": {"keep_start": "auto"}}, "the key 'training.keep_start' is retired: no share"),
        (
            {"training": {"loss": {"focal_gamma": 2}}},
            "'training.loss.focal_gamma' is retired: its",
        ),
        ({"training": {"loss": {"logit_adjustment": 1}}}, "'training.loss.logit_adjustment' is retired"),
        (
            {"kind": "soup", "members": {"a": {"backbone": NANO}}},
            "the kind 'soup' is retired",
        ),
        (
            {"kind": "ensemble", "members": {"a": {"backbone": NANO, "training": {"keep_start": 1}}}},
            "the key 'members.a.training.keep_start' is retired",
        ),
    ],
    ids=str,
)
def test_a_recipe_to_train_is_refused_with_a_hint(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"backbone": NANO, **content} if "members" not in content else content)
    assert message in caught.value.message


def test_keys_that_are_off_are_ignored() -> None:
    assert parse_recipe({"backbone": NANO, "training": OFF}) == parse_recipe({"backbone": NANO})
    vlm = {"kind": "vlm", "vlm": {"model": "tiny"}}
    assert parse_recipe({**vlm, "vlm": {"model": "tiny", "engine": "auto"}}) == parse_recipe(vlm)
