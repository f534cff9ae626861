"""Options of optimisation and loss, from the recipe to the model folder."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import BackboneError
from facetry.recipe import ClassifierRecipe

MakeRecipe = Callable[..., ClassifierRecipe]
Weights = Mapping[str, Tensor]

NANO_VIT = {
    "name": "nano_vit",
    "weights": "none",
    "options": {"layers": 2, "width": 32, "head_width": 16},
}
TRAINING = {"epochs": 1, "batch_size": 32, "backbone_lr": 1e-3, "heads_lr": 1e-3}


def fit(
    make_recipe: MakeRecipe, catalogue: Catalogue, out: Path, *, frozen: bool = False, **training: object
) -> Weights:
    recipe = make_recipe(backbone={**NANO_VIT, "frozen": frozen}, training={**TRAINING, **training})
    return load_file(train(recipe, catalogue, out) / "weights.safetensors")


@pytest.fixture(scope="module")
def plain_weights(
    drawn: Path, make_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[bool, Weights]:
    """What comes out without any option; by whether the backbone is frozen."""
    folder, catalogue = tmp_path_factory.mktemp("plain"), open_catalogue(drawn)
    return {
        frozen: fit(make_recipe, catalogue, folder / str(frozen), frozen=frozen)
        for frozen in (True, False)
    }


def test_the_recipes_loss_makes_other_heads(
    catalogue: Catalogue,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    plain_weights: Mapping[bool, Weights],
) -> None:
    """What each option does to the loss: see `test_loss.py`."""
    plain = plain_weights[True]
    loss = {"average": "head", "class_weights": "effective", "label_smoothing": 0.1}
    other = fit(make_recipe, catalogue, tmp_path / "other", frozen=True, loss=loss)
    assert plain.keys() == other.keys()
    # A head of few values is not touched by all of them.
    assert any(not torch.equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize(
    "training",
    [{"layer_decay": 0.5, "frozen_blocks": 1, "schedule": "cosine"}, {"lora": {"rank": 2}}],
    ids=str,
)
def test_each_way_to_learn_makes_another_tower_of_the_same_form(
    catalogue: Catalogue,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    plain_weights: Mapping[bool, Weights],
    training: dict[str, object],
) -> None:
    plain = plain_weights[False]
    other = fit(make_recipe, catalogue, tmp_path / "other", **training)
    assert plain.keys() == other.keys()
    name = "backbone.tower.transformer.resblocks.1.mlp.c_fc.weight"
    assert not torch.equal(plain[name], other[name])
    assert load(tmp_path / "other").taxonomy == catalogue.taxonomy


def test_checkpointing_changes_nothing(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path, plain_weights: Mapping[bool, Weights]
) -> None:
    plain = plain_weights[False]
    twice = fit(make_recipe, catalogue, tmp_path / "twice", checkpointing=True)
    assert all(torch.equal(plain[name], twice[name]) for name in plain)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"frozen_blocks": 3}, "frozen_blocks is 3, but the tower has 2 blocks"),
        ({"lora": {"dropout": 0.5}}, r"lora\.dropout is 0\.5"),
    ],
    ids=str,
)
def test_what_a_tower_cannot_do_is_reported_before_training(
    catalogue: Catalogue,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    training: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(BackboneError, match=message):
        fit(make_recipe, catalogue, tmp_path / "model", **training)
    assert fit(make_recipe, catalogue, tmp_path / "model", frozen=True), "a first attempt may be mended"
