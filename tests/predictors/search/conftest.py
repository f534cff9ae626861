"""Searches of the drawn catalogue: by hashes, and by the features of a tiny backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.predictors.search.predictor import SimilaritySearch
from facetry.recipe import SearchRecipe, parse_recipe
from tests.conftest import MakeOnce

HASHES = ["phash", "dhash", "whash", "colorhash"]
FEATURES = {"name": "nano_convnext", "weights": "none"}
SPLIT = {"validation": 0.2, "test": 0.2, "method": "random"}

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
def hash_model(drawn: Path, search_recipe: MakeSearch, make_once: MakeOnce) -> Path:
    """The model folder of a search by hashes; not to be written to."""
    return make_once("hashes", lambda out: train(search_recipe(), open_catalogue(drawn), out))


@pytest.fixture(scope="session")
def feature_model(drawn: Path, search_recipe: MakeSearch, make_once: MakeOnce) -> Path:
    """The model folder of a search by features; not to be written to."""
    recipe = search_recipe(backbone=FEATURES, search={"vote": "weighted", "num_neighbours": "auto"})
    return make_once("features", lambda out: train(recipe, open_catalogue(drawn), out))


@pytest.fixture(params=["hashes", "features"])
def search_model(request: pytest.FixtureRequest) -> Path:
    """Both in turn."""
    name = "hash_model" if request.param == "hashes" else "feature_model"
    folder: Path = request.getfixturevalue(name)
    return folder


@pytest.fixture
def search(search_model: Path) -> SimilaritySearch:
    """The predictor in both."""
    predictor = load_plain(search_model)
    assert isinstance(predictor, SimilaritySearch)
    return predictor
