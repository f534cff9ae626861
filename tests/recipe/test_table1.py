"""The classification rows of the paper's Table 1: their settings, their towers, their small forms."""

import re
from pathlib import Path

import pytest
import torch

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.models.cards import CARDS
from facetry.models.classifier.heads import Heads
from facetry.models.towers.image import build_backbone
from facetry.recipe import ClassifierRecipe, EnsembleRecipe, Recipe, load_recipe
from facetry.recipe.rehearsal import nano
from facetry.taxonomy import Taxonomy

TABLE1 = Path(__file__).parents[2] / "recipes" / "table1"

ROWS = {  # backbone, public and private score
    "07-vit-b32": ("ViT-B-32", "0.765", "0.765"),
    "08-vit-l14": ("ViT-L-14", "0.770", "0.771"),
    "09-vit-l14-tuned": ("ViT-L-14", "0.785", "0.785"),
    "10-vit-l14-background": ("ViT-L-14", "0.782", "0.779"),
    "11-coca": ("coca_ViT-L-14", "0.797", "0.794"),
    "12-convnext-xxlarge": ("convnext_xxlarge", "0.801", "0.799"),
    "13-vit-h14": ("ViT-H-14-quickgelu", "0.806", "0.800"),
}
ENSEMBLES = {  # members and their rows
    "14-ensemble-vit-h14-coca": {"vit_h14": "13-vit-h14", "coca": "11-coca"},
    "15-ensemble-convnext-vit-h14": {
        "convnext_xxlarge": "12-convnext-xxlarge",
        "vit_h14": "13-vit-h14",
    },
}
FINAL = {  # Table 4
    "backbone_lr": 1e-5,
    "heads_lr": 5e-5,
    "weight_decay": 0.001,
    "beta1": 0.9,
    "beta2": 0.999,
}
GRID = {  # Table 3
    "backbone_lr": (1e-5, 1e-4, 5e-6),
    "heads_lr": (5e-5, 5e-4, 1e-3),
    "weight_decay": (0.001, 0.05, 0.1),
    "beta1": (0.9, 0.95),
    "beta2": (0.999, 0.9999),
    "hidden_dim": (256, 768, 1024),
    "dropout": (0.1, 0.3, 0.4, 0.5),
    "num_hidden_layers": (1, 2, 3),
}


def load_row(name: str) -> Recipe:
    return load_recipe(TABLE1 / f"{name}.yaml")


def load_classifier_row(name: str) -> ClassifierRecipe:
    recipe = load_row(name)
    assert isinstance(recipe, ClassifierRecipe)
    return recipe


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_as_the_paper_has_it(name: str) -> None:
    backbone, public, private = ROWS[name]
    recipe = load_classifier_row(name)
    assert (recipe.backbone.name, recipe.backbone.weights) == (backbone, "hub")
    assert not recipe.backbone.frozen
    assert recipe.split.method == "random"  # section 3.2
    assert (recipe.training.milestones, recipe.training.gamma) == ((4, 6, 10), 0.1)  # section 7.2.1
    header = (TABLE1 / f"{name}.yaml").read_text().partition("kind:")[0]
    assert f"Row {int(name[:2])} of the paper's Table 1" in header
    assert f"{public} public, {private} private" in header
    own = {**recipe.training.model_dump(), **recipe.heads.model_dump()}
    if name[:2] in {"07", "08"}:  # before the search: the middle of each of its rows
        middle = {key: sorted(values)[(len(values) - 1) // 2] for key, values in GRID.items()}
        assert {key: own[key] for key in GRID} == middle
        return
    assert {key: own[key] for key in FINAL} == FINAL
    heads = (recipe.heads.hidden_dim, recipe.heads.num_hidden_layers, recipe.heads.dropout)
    assert heads == (256, 1, 0.1)


def test_backgrounds_are_the_only_difference_of_row_10() -> None:
    plain, removed = (
        load_classifier_row(name) for name in ("09-vit-l14-tuned", "10-vit-l14-background")
    )
    assert removed.image.background == "grabcut"
    assert removed.model_copy(update={"image": plain.image}) == plain


@pytest.mark.parametrize("name", ENSEMBLES)
def test_members_are_rows_themselves(name: str) -> None:
    """To the letter, so that a comparison need not train them twice."""
    recipe = load_row(name)
    assert isinstance(recipe, EnsembleRecipe)
    assert recipe.members == {member: load_row(row) for member, row in ENSEMBLES[name].items()}
    assert recipe.weights == dict.fromkeys(ENSEMBLES[name], 0.5)
    assert recipe.split.method == "random"


@pytest.mark.parametrize("name", ROWS)
def test_towers_and_heads_fit(name: str) -> None:
    """Built without memory, as nothing is computed."""
    recipe = load_classifier_row(name)
    taxonomy = Taxonomy.of({"Sarees": {"border": ["solid", "zari"]}})
    with torch.device("meta"):
        backbone = build_backbone(recipe.backbone, recipe.image, with_weights=False)
        heads = Heads(taxonomy, backbone.feature_size, recipe.heads)
        side = backbone.preprocess.size_px
        features = backbone(torch.empty(2, 3, side, side))
        hidden = heads.categories[0].hidden[0](features)  # type: ignore[index,operator]
    assert side == CARDS[recipe.backbone.name].image_size_px
    assert hidden.shape == (2, 1, recipe.heads.hidden_dim)


def test_a_small_coca_learns(catalogue: Catalogue, tmp_path: Path) -> None:
    """An epoch with its attentional pooler, then prediction from the model folder."""
    content = nano(load_classifier_row("11-coca"))
    assert isinstance(content, ClassifierRecipe)
    assert content.backbone.name == "nano_coca"
    training = content.training.model_copy(update={"epochs": 1, "milestones": ()})
    folder = train(content.model_copy(update={"training": training}), catalogue, tmp_path / "model")
    (log,) = re.findall(r"^1,.*$", (folder / "training" / "log.csv").read_text(), flags=re.MULTILINE)
    assert log
    assert (load(folder).preprocesses[0].size_px) == 64
