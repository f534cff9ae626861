"""Where training starts: from another model's tower and heads."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from facetry.build.load import load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import BackboneError, HeldOutLearned, ModelFolderError, RecipeError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier, save_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.folder import write_checksums
from facetry.models.towers.image import build_backbone
from facetry.recipe import ClassifierRecipe, Recipe, parse_recipe
from facetry.taxonomy import Taxonomy

MakeRecipe = Callable[..., ClassifierRecipe]
NANO = {"name": "nano_convnext", "weights": "none"}
SHOES = Taxonomy.of({"Shoes": {"heel": ["high", "low"], "colour": ["red", "black", "tan"]}})
TRAINING = {"epochs": 1, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3}


def tower(folder: Path) -> Mapping[str, Tensor]:
    weights = load_file(folder / "weights.safetensors")
    return {name: each for name, each in weights.items() if name.startswith("backbone.")}


def write_donor(
    folder: Path, kind: str = "classifier", heads: HeadsConfig | None = None, **backbone: object
) -> Path:
    """A model folder of another taxonomy, whose heads and tower are what they are."""
    torch.manual_seed(3)
    heads = heads or HeadsConfig(hidden_dim=16)
    config = BackboneConfig.model_validate(NANO)
    save_classifier(folder, build_classifier(SHOES, config, heads, ImageConfig()))
    recipe = {
        "kind": kind,
        "backbone": {**config.model_dump(), **backbone},
        "heads": heads.model_dump(),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write_checksums(folder)
    return folder


def test_a_tower_starts_from_a_model_folder(tmp_path: Path) -> None:
    donor = write_donor(tmp_path / "donor")
    config = BackboneConfig.model_validate({**NANO, "weights": str(donor)})
    backbone = build_backbone(config, ImageConfig())
    assert backbone.is_pretrained
    expected = tower(donor)
    got = {f"backbone.{name}": each for name, each in backbone.state_dict().items()}
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], each) for name, each in got.items())


@pytest.mark.parametrize(
    ("kind", "donor", "changes", "message"),
    [
        ("ensemble", {}, {}, "holds a predictor of the kind ensemble, not a classifier"),
        (
            "classifier",
            {},
            {"name": "nano_vit"},
            "nano_convnext without options; the recipe's is nano_vit",
        ),
        ("classifier", {}, {"options": {"depths": [1, 1, 1, 1]}}, "nano_convnext with {'depths'"),
        ("classifier", {"prune": {"blocks": 0.5}}, {}, "is nano_convnext without options, pruned"),
    ],
    ids=str,
)
def test_towers_that_do_not_fit(
    tmp_path: Path, kind: str, donor: dict[str, object], changes: dict[str, object], message: str
) -> None:
    folder = write_donor(tmp_path / "donor", kind, **donor)
    config = BackboneConfig.model_validate({**NANO, "weights": str(folder), **changes})
    with pytest.raises(BackboneError) as caught:
        build_backbone(config, ImageConfig())
    assert message in caught.value.message


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    config = BackboneConfig.model_validate({**NANO, "weights": str(tmp_path)})
    with pytest.raises(ModelFolderError, match="never finished"):
        build_backbone(config, ImageConfig())


def test_heads_start_from_a_model_folder(catalogue: Catalogue, tiny_model: Path) -> None:
    def build(start: Path | None) -> Classifier:
        torch.manual_seed(0)
        heads = HeadsConfig(hidden_dim=16, start=start)
        backbone = BackboneConfig.model_validate(NANO)
        return build_classifier(catalogue.taxonomy, backbone, heads, ImageConfig())

    donor = load_plain(tiny_model)
    assert isinstance(donor, Classifier)
    categories = torch.arange(len(catalogue.taxonomy.categories))
    features = torch.randn(len(categories), donor.heads.feature_size)
    fresh, taken, given = (
        each.heads.eval()(features, categories) for each in (build(None), build(tiny_model), donor)
    )
    assert torch.equal(taken, given)
    assert not torch.equal(fresh, given)


def test_shared_heads_start_from_a_model_of_other_categories(tmp_path: Path) -> None:
    donor = write_donor(tmp_path / "donor", heads=HeadsConfig(hidden_dim=16, shared=True))
    boots = Taxonomy.of({"Boots": {"colour": ["black", "red"], "zip": ["no", "yes"]}})
    heads = HeadsConfig(hidden_dim=16, shared=True, start=donor)
    taken = build_classifier(boots, BackboneConfig.model_validate(NANO), heads, ImageConfig()).heads
    given = load_plain(donor)
    assert isinstance(given, Classifier)
    features, category = torch.randn(4, taken.feature_size), torch.zeros(4, dtype=torch.int64)
    got, expected = taken.eval()(features, category), given.heads.eval()(features, category)
    slot = {
        name: [head.attribute for head in each.taxonomy.heads].index("colour")
        for name, each in (("mine", taken), ("theirs", given.heads))
    }
    values = given.taxonomy.heads[slot["theirs"]].values
    places = [values.index(value) for value in ("black", "red")]
    assert torch.allclose(got[:, slot["mine"], :2], expected[:, slot["theirs"], places], atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "heads", "message"),
    [
        ("ensemble", {"hidden_dim": 16}, "holds a predictor of the kind ensemble"),
        ("classifier", {"hidden_dim": 8}, "1 hidden layers of 8, .*, the recipe's have .* of 16"),
        ("classifier", {"hidden_dim": 16}, "has none of the catalogue's heads"),
    ],
    ids=str,
)
def test_heads_that_cannot_be_taken(
    catalogue: Catalogue,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    kind: str,
    heads: dict[str, int],
    message: str,
) -> None:
    donor = write_donor(tmp_path / "donor", kind, HeadsConfig.model_validate(heads))
    recipe = make_recipe(heads={"hidden_dim": 16, "start": str(donor)})
    with pytest.raises(ModelFolderError, match=message):
        train(recipe, catalogue, tmp_path / "model")


def test_pre_training_is_in_the_card_and_needs_no_donor_to_load(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    donor = write_donor(tmp_path / "donor")
    recipe = make_recipe(backbone={**NANO, "weights": str(donor)}, training=TRAINING)
    out = train(recipe, catalogue, tmp_path / "model")
    assert "that of the model folder donor, which they came from" in (out / "README.md").read_text()
    for each in donor.iterdir():
        each.unlink()
    assert isinstance(load_plain(out), Classifier)


@pytest.mark.parametrize("key", ["backbone.weights", "heads.start", "search"])
def test_a_donor_that_saw_the_test_part_is_refused(
    catalogue: Catalogue, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path, key: str
) -> None:
    codes = pl.read_parquet(tiny_model / "split.parquet")["part"].to_list()
    split = Split(np.array([0 if part == "test" else 2 for part in codes], dtype=np.int8))
    donated = {"backbone": {**NANO, "weights": str(tiny_model)}}
    recipes: Mapping[str, Recipe] = {
        "backbone.weights": make_recipe(**donated),
        "heads.start": make_recipe(heads={"hidden_dim": 16, "start": str(tiny_model)}),
        "search": parse_recipe({"kind": "search", **donated, "search": {"num_neighbours": 1}}),
    }
    named = key if key != "search" else "backbone.weights"
    with pytest.raises(HeldOutLearned, match=f"{named}: .* learned from .* test part"):
        train(recipes[key], catalogue, tmp_path / "model", split=split)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"backbone": NANO, "teach": {"model": "x", "share": 0}}, "teach.share"),
        (
            {"backbone": NANO, "teach": {"model": "x", "missing": False, "unlabelled": True}},
            "they need missing true",
        ),
    ],
    ids=str,
)
def test_recipes_that_make_no_sense(content: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content)
    assert message in caught.value.message
