"""A rehearsal does what the recipe does, with small parts."""

from pathlib import Path

import pytest

from facetry.errors import RecipeError
from facetry.models.cards import CARDS, NANO_CARDS
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    SearchRecipe,
    VlmRecipe,
    load_recipe,
    parse_recipe,
)
from facetry.recipe.rehearsal import nano

RECIPES = sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml"))


def classifier(**content: object) -> ClassifierRecipe:
    recipe = parse_recipe({"backbone": {"name": "ViT-L-14"}, **content})
    assert isinstance(recipe, ClassifierRecipe)
    return recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_rehearsed(path: Path) -> None:
    recipe = load_recipe(path)
    small = nano(recipe)
    assert small.kind == recipe.kind
    assert small.split == recipe.split
    assert nano(small) == small


@pytest.mark.parametrize("family", sorted({card.family for card in CARDS.values()} - {"other"}))
def test_every_family_has_its_nano_card(family: str) -> None:
    card = CARDS[NANO_CARDS[family]]
    assert card.tag is None
    assert card.image_size_px <= 64


def test_what_a_rehearsal_keeps_and_drops() -> None:
    recipe = classifier(
        seed=5,
        backbone={"name": "convnext_xxlarge", "frozen": True},
        image={"size_px": 300, "mean": [0.5] * 3, "std": [0.5] * 3, "resize": "letterbox"},
        heads={"hidden_dim": 1024, "num_hidden_layers": 3, "dropout": 0.3},
        training={"epochs": 40, "batch_size": 8, "loss": {"label_smoothing": 0.2}},
        clean={"neighbours": "replace", "neighbour_backbone": {"name": "ViT-L-14"}, "upsample": 0.1},
    )
    small = nano(recipe)
    assert isinstance(small, ClassifierRecipe)
    assert small.backbone.model_dump(include={"name", "weights", "frozen"}) == {
        "name": "nano_convnext",
        "weights": "none",
        "frozen": True,
    }
    assert (small.image.size_px, small.image.mean, small.image.resize) == (None, None, "letterbox")
    assert (small.heads.hidden_dim, small.heads.dropout) == (32, 0.3)
    assert (small.training.batch_size, small.training.loss.label_smoothing) == (8, 0.2)
    assert small.training.epochs < 10
    assert small.clean.neighbour_backbone is not None
    assert small.clean.neighbour_backbone.name == "nano_vit"
    assert (small.seed, small.clean.upsample) == (5, 0.1)


def test_text_is_read_by_the_nano_cards_own_encoder() -> None:
    text = {"fusion": "gate", "drop": 0.1, "encoder": "ViT-B-32", "weights": "clip.pt"}
    small = nano(classifier(backbone={"name": "mobilenetv2_100"}, text=text, photos={"max": 3}))
    assert isinstance(small, ClassifierRecipe)
    assert small.text is not None
    assert small.text.model_dump() == {"fusion": "gate", "drop": 0.1, "encoder": None, "weights": None}
    assert small.photos.max == 3
    assert CARDS[small.backbone.name].text


def test_backgrounds_go_without_a_file() -> None:
    recipe = classifier(image={"background": "rembg", "background_model": "u2net.onnx"})
    small = nano(recipe)
    assert isinstance(small, ClassifierRecipe)
    assert (small.image.background, small.image.background_model) == ("grabcut", None)


def test_members_whatever_they_are_called() -> None:
    member = {"backbone": {"name": "coca_ViT-L-14"}}
    small = nano(parse_recipe({"kind": "ensemble", "members": {"training": member, "image": member}}))
    assert isinstance(small, EnsembleRecipe)
    for each in small.members.values():
        assert isinstance(each, ClassifierRecipe)
        assert each.backbone.name == "nano_coca"


def test_searches_and_language_models() -> None:
    by_features = nano(parse_recipe({"kind": "search", "backbone": {"name": "ViT-B-32"}}))
    assert isinstance(by_features, SearchRecipe)
    assert by_features.backbone is not None
    assert by_features.backbone.name == "nano_vit"
    by_hashes = parse_recipe({"kind": "search", "hashes": ["phash"]})
    assert nano(by_hashes) == by_hashes
    small = nano(parse_recipe({"kind": "vlm", "vlm": {"model": "Qwen/Qwen2-VL-7B-Instruct"}}))
    assert isinstance(small, VlmRecipe)
    assert small.vlm.model == "tiny"


def test_a_backbone_without_a_small_one() -> None:
    with pytest.raises(RecipeError, match="'timm:resnet18'") as caught:
        nano(classifier(backbone={"name": "timm:resnet18"}))
    assert "convnext" in caught.value.hint
