"""A model folder's backbone or a recipe's embeds the photos; anything else is refused in words."""

from pathlib import Path

import numpy as np
import pytest

from facetry.audit.config import AuditConfig, features_identity, make_backbone, open_encoder
from facetry.errors import FacetryError, SettingError
from facetry.models.classifier.serialization import load_classifier
from facetry.models.folder import open_folder
from facetry.models.towers.image import Backbone
from facetry.recipe import ClassifierRecipe, dump_recipe
from tests.conftest import PROJECT

ENSEMBLE = PROJECT / "recipes" / "demo.yaml"


@pytest.fixture
def recipe_file(tiny_recipe: ClassifierRecipe, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(tiny_recipe))
    return path


def made_for(config: AuditConfig) -> Backbone:
    encoder = open_encoder(config)
    assert encoder
    return make_backbone(encoder)


def test_a_model_folder_gives_its_backbone(tiny_model: Path) -> None:
    backbone = made_for(AuditConfig(features=tiny_model))
    expected = load_classifier(open_folder(tiny_model)).backbone.state_dict()
    for name, weights in backbone.state_dict().items():
        np.testing.assert_array_equal(weights.cpu(), expected[name].cpu())


def test_a_recipe_builds_its_backbone(recipe_file: Path) -> None:
    config = AuditConfig(features=recipe_file, changes=("image.size_px=32",))
    assert made_for(config).preprocess.size_px == 32


def test_identity_follows_what_is_embedded_with(tiny_model: Path, recipe_file: Path) -> None:
    def identity(path: Path | None, *changes: str) -> object:
        return features_identity(open_encoder(AuditConfig(features=path, changes=changes)))

    assert identity(None) is None
    assert identity(tiny_model) == identity(tiny_model) != identity(recipe_file)
    assert identity(recipe_file) == identity(recipe_file, "training.epochs=9")
    assert identity(recipe_file) != identity(recipe_file, "image.size_px=32")


@pytest.mark.parametrize(
    ("path", "changes", "message"),
    [
        (ENSEMBLE, (), "of the kind 'ensemble', which has no backbone of its own"),
        (PROJECT / "recipes", (), "has no checksums.json"),
        (PROJECT / "none.yaml", (), "none.yaml"),
        (ENSEMBLE, ("x",), "Cannot read 'x'"),
    ],
)
def test_what_gives_no_features(path: Path, changes: tuple[str, ...], message: str) -> None:
    with pytest.raises(FacetryError) as caught:
        open_encoder(AuditConfig(features=path, changes=changes))
    assert message in str(caught.value)


def test_set_on_a_model_folder(tiny_model: Path) -> None:
    with pytest.raises(SettingError, match="--set changes a recipe's keys"):
        open_encoder(AuditConfig(features=tiny_model, changes=("seed=1",)))
