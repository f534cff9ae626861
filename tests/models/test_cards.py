"""The table of backbones agrees with the libraries it points to."""

import dataclasses

import open_clip
import pytest
import timm

from facetry.errors import BackboneError
from facetry.models.cards import CARDS, BackboneCard, find_card

PRETRAINED = [card for card in CARDS.values() if card.tag]


@pytest.mark.parametrize("card", PRETRAINED, ids=lambda card: card.name)
def test_tags_are_known_to_the_library(card: BackboneCard) -> None:
    if card.library == "open_clip":
        assert card.tag in open_clip.list_pretrained_tags_by_model(card.model)
    else:
        assert f"{card.model}.{card.tag}" in timm.list_pretrained()


@pytest.mark.parametrize(
    "card", [card for card in PRETRAINED if card.library == "open_clip"], ids=lambda card: card.name
)
def test_sizes_agree_with_open_clip(card: BackboneCard) -> None:
    config = open_clip.get_model_config(card.model)
    assert config is not None
    assert card.feature_size == config["embed_dim"]
    assert card.image_size_px == config["vision_cfg"]["image_size"]


@pytest.mark.parametrize(
    "card", [card for card in PRETRAINED if card.library == "timm"], ids=lambda card: card.name
)
def test_sizes_agree_with_timm(card: BackboneCard) -> None:
    config = timm.get_pretrained_cfg(f"{card.model}.{card.tag}")
    assert config.input_size == (3, card.image_size_px, card.image_size_px)
    assert config.license == card.licence.lower()


@pytest.mark.parametrize(
    ("name", "tag", "image_size_px"),
    [
        ("ViT-H-14-quickgelu", "dfn5b", 224),
        ("convnext_xxlarge", "laion2b_s34b_b82k_augreg_soup", 256),
    ],
)
def test_the_towers_of_the_paper(name: str, tag: str, image_size_px: int) -> None:
    """Section 2 and section 4.1."""
    card = find_card(name)
    assert (card.tag, card.image_size_px, card.feature_size) == (tag, image_size_px, 1024)


def test_licences_are_named() -> None:
    assert all(card.licence for card in CARDS.values())
    assert "not open" in CARDS["ViT-H-14-quickgelu"].licence
    assert CARDS["convnext_xxlarge"].licence == "MIT"
    assert all("scratch" in card.licence for card in CARDS.values() if card.tag is None)


@pytest.mark.parametrize(
    ("name", "nano"),
    [("seresnext50_32x4d", "nano_seresnext"), ("swin_base_patch4_window7_224", "nano_swin")],
)
def test_nano_cards_are_of_the_same_classes(name: str, nano: str) -> None:
    large, small = (
        timm.create_model(find_card(each).model, num_classes=0, **find_card(each).settings)
        for each in (name, nano)
    )
    assert type(small) is type(large)
    assert find_card(nano).family == find_card(name).family
    kinds = [{type(module).__name__ for module in model.modules()} for model in (large, small)]
    assert {"SEModule", "WindowAttention"} & kinds[0] == {"SEModule", "WindowAttention"} & kinds[1]
    assert large.num_features == find_card(name).feature_size
    assert small.num_features == find_card(nano).feature_size


def test_every_card_has_a_family() -> None:
    assert all(card.family != "other" for card in CARDS.values())
    assert find_card("timm:test_vit").family == "other"


def test_cards_are_filed_under_their_names_and_cannot_be_changed() -> None:
    assert all(name == card.name for name, card in CARDS.items())
    with pytest.raises(dataclasses.FrozenInstanceError):
        CARDS["ViT-B-32"].tag = "openai"  # type: ignore[misc]
    with pytest.raises(TypeError):
        CARDS["mine"] = CARDS["ViT-B-32"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "library", "model", "tag"),
    [
        ("open_clip:RN50", "open_clip", "RN50", None),
        ("timm:test_vit", "timm", "test_vit", None),
        ("timm:test_vit.r160_in1k", "timm", "test_vit", "r160_in1k"),
    ],
)
def test_any_other_model_of_the_libraries(name: str, library: str, model: str, tag: str | None) -> None:
    card = find_card(name)
    assert (card.name, card.library, card.model, card.tag) == (name, library, model, tag)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ViT-H-14-quickgelo", "Did you mean 'ViT-H-14-quickgelu'?"),
        ("vit-b-32", "Did you mean 'ViT-B-32'?"),
        ("nanovit", "Did you mean 'nano_vit'?"),
        ("resnet50", "open_clip:NAME or timm:NAME"),
        ("timm:", "open_clip:NAME or timm:NAME"),
        ("torchvision:resnet50", "open_clip:NAME or timm:NAME"),
        ("", "open_clip:NAME or timm:NAME"),
    ],
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(BackboneError) as caught:
        find_card(name)
    assert repr(name) in caught.value.message
    assert hint in caught.value.hint
