"""What many tests share: a tiny drawn catalogue and a tiny trained model."""

import os
from collections.abc import Callable
from pathlib import Path

# Before any library reads them: no test may wait for a hub, or spin while another process works.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest

from facetry.build import load, train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.sample import SampleConfig, draw_catalogue
from facetry.predictions import Predictor
from facetry.recipe import ClassifierRecipe, Recipe, dump_recipe, load_recipe, parse_recipe

PROJECT = Path(__file__).parent.parent

NANO_RECIPE: dict[str, object] = {
    "backbone": {"name": "nano_convnext", "weights": "none"},
    "heads": {"hidden_dim": 16},
    "training": {"epochs": 3, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3},
    "split": {"validation": 0.2, "test": 0.2},
}

MakeRecipe = Callable[..., ClassifierRecipe]


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real tables and photos, which are not part of the project."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the real data in ../shared/data")
    return folder


@pytest.fixture(scope="session", autouse=True)
def two_threads() -> None:
    """Keep torch from taking more cores than the smallest machine has."""
    import torch

    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn catalogue of 90 products, faults and all; not to be written to."""
    folder = tmp_path_factory.mktemp("drawn") / "catalogue"
    draw_catalogue(folder, SampleConfig(num_products=90, seed=1, size_px=64))
    return folder


@pytest.fixture
def catalogue(drawn: Path) -> Catalogue:
    """The labelled products of the drawn catalogue."""
    return open_catalogue(drawn)


@pytest.fixture(scope="session")
def make_recipe() -> MakeRecipe:
    """Make a recipe that trains within a second; keyword arguments replace its top-level keys."""

    def make(**changes: object) -> ClassifierRecipe:
        recipe = parse_recipe({**NANO_RECIPE, **changes})
        assert isinstance(recipe, ClassifierRecipe)
        return recipe

    return make


@pytest.fixture(scope="session")
def tiny_recipe(make_recipe: MakeRecipe) -> Recipe:
    """What the tiny model is built by."""
    return make_recipe()


@pytest.fixture(scope="session")
def tiny_model(drawn: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; not to be written to."""
    return train(tiny_recipe, open_catalogue(drawn), tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="session")
def tiny_predictor(tiny_model: Path) -> Predictor:
    """The predictor in the tiny model's folder."""
    return load(tiny_model)


@pytest.fixture(scope="session")
def quick_demo_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own recipe with one epoch."""
    content = load_recipe(PROJECT / "recipes" / "demo.yaml").model_dump(mode="json")
    for member in content["members"].values():
        member["training"] |= {"epochs": 1, "milestones": []}
    recipe = tmp_path_factory.mktemp("recipe") / "demo.yaml"
    recipe.write_text(dump_recipe(parse_recipe(content)))
    return recipe
