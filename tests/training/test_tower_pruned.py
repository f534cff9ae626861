"""Training prunes the tower once before it begins, and the model folder stores what was removed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import BackboneError, RecipeError
from facetry.models.classifier.classifier import Classifier
from facetry.models.config import PruneConfig
from facetry.models.towers.image import build_backbone
from facetry.models.towers.slim import Pruning
from facetry.product import Product
from facetry.recipe import ClassifierRecipe, parse_recipe
from facetry.runtime.progress import SILENT
from facetry.training.tower import PRUNING, prune_for

MakeRecipe = Callable[..., ClassifierRecipe]
QUARTER = {"channels": 0.25}
NANO = {"name": "nano_convnext", "weights": "none"}


class Recorder:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, text: str) -> None:
        self.sentences.append(text)

    def bar(self, description: str, total: int | None) -> object:
        return SILENT.bar(description, total)


def test_a_pruned_tower_is_trained_and_saved(
    catalogue: Catalogue, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    recipe, recorder = make_recipe(backbone={**NANO, "prune": {**QUARTER, "blocks": 0.2}}), Recorder()
    out = train(recipe, catalogue, tmp_path / "model", reporter=recorder)  # type: ignore[arg-type]
    classifier, whole = load_plain(out), load_plain(tiny_model)
    assert isinstance(classifier, Classifier)
    assert isinstance(whole, Classifier)
    sizes = [sum(each.numel() for each in every.backbone.parameters()) for every in (classifier, whole)]
    assert sizes[0] < 0.9 * sizes[1]
    assert "The tower was pruned from 0.8 to 0.6 million parameters." in recorder.sentences
    assert len(classifier.backbone.prunings[0].blocks) == 1
    assert not (out / "training" / PRUNING).exists()


def some(catalogue: Catalogue, *, problem: str | None = None) -> list[Product]:
    products = catalogue.products(np.arange(20))
    return (
        [Product(id=each.id, category=each.category, problem=problem) for each in products]
        if (problem)
        else list(products)
    )


def test_the_pruning_is_chosen_once(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(backbone=NANO)
    first, second = (build_backbone(recipe.backbone, recipe.image) for _ in range(2))
    prune_for(first, PruneConfig(channels=0.25), some(catalogue), tmp_path, SILENT)
    prune_for(second, PruneConfig(channels=0.5), [], tmp_path, SILENT)
    assert first.prunings == second.prunings
    assert Pruning.model_validate_json((tmp_path / PRUNING).read_text()) == first.prunings[0]


def test_the_same_photos_are_looked_at_each_time(catalogue: Catalogue, tmp_path: Path) -> None:
    recipe = parse_recipe({"backbone": NANO})
    assert isinstance(recipe, ClassifierRecipe)
    chosen = []
    for name in ("one", "two"):
        torch.manual_seed(0)
        backbone = build_backbone(recipe.backbone, recipe.image)
        (tmp_path / name).mkdir()
        prune_for(backbone, PruneConfig(channels=0.5), some(catalogue), tmp_path / name, SILENT)
        chosen.append(backbone.prunings)
    assert chosen[0] == chosen[1]


def test_photos_that_cannot_be_read_are_passed_over(catalogue: Catalogue, tmp_path: Path) -> None:
    recipe = parse_recipe({"backbone": NANO})
    assert isinstance(recipe, ClassifierRecipe)
    backbone = build_backbone(recipe.backbone, recipe.image)
    bad = some(catalogue, problem="not an image")
    prune_for(backbone, PruneConfig(channels=0.5), bad, tmp_path, SILENT)
    assert not backbone.prunings  # nothing to judge by: training itself has more to say
    prune_for(backbone, PruneConfig(channels=0.5), [*bad, *some(catalogue)], tmp_path, SILENT)
    assert backbone.prunings


def test_a_tower_without_heads_is_refused(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(backbone={**NANO, "prune": {"heads": 0.5}})
    with pytest.raises(BackboneError, match="no heads"):
        train(recipe, catalogue, tmp_path / "model")


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "search", "backbone": {**NANO, "prune": QUARTER}},
        {"backbone": NANO, "clean": {"neighbour_backbone": {**NANO, "prune": QUARTER}}},
        {"backbone": {**NANO, "prune": QUARTER, "frozen": True}},
    ],
)
def test_pruning_a_tower_that_does_not_learn_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="cannot be pruned"):
        parse_recipe(content)
