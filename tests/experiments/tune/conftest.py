"""A recipe whose heads train in a second, and a search space for it."""

from collections.abc import Callable

import pytest

from facetry.experiments.tune.space import Space, parse_space
from facetry.recipe import ClassifierRecipe

MakeRecipe = Callable[..., ClassifierRecipe]

FROZEN: dict[str, object] = {
    "backbone": {"name": "nano_convnext", "weights": "none", "frozen": True},
    "training": {"epochs": 4, "batch_size": 32, "heads_lr": 1e-3},
    "split": {"validation": 0.2, "test": 0.2, "method": "random"},
}


@pytest.fixture(scope="session")
def frozen_recipe(make_recipe: MakeRecipe) -> ClassifierRecipe:
    """A frozen backbone without pretrained weights."""
    return make_recipe(**FROZEN)


@pytest.fixture(scope="session")
def space(frozen_recipe: ClassifierRecipe) -> Space:
    """Six points."""
    content = {"training.heads_lr": [1e-3, 1e-2, 1e-4], "heads.hidden_dim": [8, 32]}
    return parse_space(content, frozen_recipe)
