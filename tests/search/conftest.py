"""Searches of the drawn catalogue: by hashes, and by the features of a tiny backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from facetry.build import load, train
from facetry.catalogue.catalogue import open_catalogue
from facetry.recipe import SearchRecipe, parse_recipe
from facetry.search.predictor import SimilaritySearch

HASHES = ["phash", "dhash", "whash", "colorhash"]
FEATURES = {"name": "nano_convnext", "weights": "none"}
SPLIT = {"validation": 0.2, "test": 0.2}

MakeSearch = Callable[..., SearchRecipe]


@pytest.fixture(scope="session")
def search_recipe() -> MakeSearch:
    """A search by hashes; keyword arguments replace its top-level keys."""

    def make(**changes: object) -> SearchRecipe:
        content = {"kind": "search", "split": SPLIT, **changes}
        if "backbone" not in content:
            content = {"hashes": HASHES, **content}
        recipe = parse_recipe(content)
        assert isinstance(recipe, SearchRecipe)
        return recipe

    return make


@pytest.fixture(scope="session")
def hash_model(drawn: Path, search_recipe: MakeSearch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a search by hashes; not to be written to."""
    out = tmp_path_factory.mktemp("hashes") / "model"
    return train(search_recipe(), open_catalogue(drawn), out)


@pytest.fixture(scope="session")
def feature_model(
    drawn: Path, search_recipe: MakeSearch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model folder of a search by features; not to be written to."""
    recipe = search_recipe(backbone=FEATURES, search={"vote": "weighted", "num_neighbours": "auto"})
    return train(recipe, open_catalogue(drawn), tmp_path_factory.mktemp("features") / "model")


@pytest.fixture(params=["hashes", "features"])
def search_model(request: pytest.FixtureRequest) -> Path:
    """Both in turn."""
    name = "hash_model" if request.param == "hashes" else "feature_model"
    folder: Path = request.getfixturevalue(name)
    return folder


@pytest.fixture
def search(search_model: Path) -> SimilaritySearch:
    """The predictor in both."""
    predictor = load(search_model)
    assert isinstance(predictor, SimilaritySearch)
    return predictor
