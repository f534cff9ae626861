"""Text encoders: open_clip's own, a row of zeros for no text, and weights from whole checkpoints."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import save_file

from facetry.errors import BackboneError, WeightsUnavailable
from facetry.models.cards import CARDS
from facetry.models.config import BackboneConfig, TextConfig
from facetry.models.towers.text import TextTower, build_text_tower, fold_tokens

TEXTS = ["Navy blue kurti", None, "saree with zari border, " * 9, "  ", ""]
NANO = [name for name in CARDS if name.startswith("nano_")]
CLIPS = [card.name for card in CARDS.values() if card.library == "open_clip" and not card.text]


def make_tower(name: str = "nano_vit", **changes: object) -> TextTower:
    torch.manual_seed(0)
    return build_text_tower(BackboneConfig.model_validate({"name": name, "weights": "none", **changes}))


def test_tokens_are_clips_own_where_the_vocabulary_is_whole() -> None:
    tower = make_tower()
    tower.tower.vocab_size, tower.tower.context_length = 49408, 77
    tokens = tower.tokenise(TEXTS)
    titled = [0, 2]
    np.testing.assert_array_equal(
        tokens[titled], open_clip.tokenize([TEXTS[row] for row in titled]).numpy()
    )
    assert not tokens[[1, 3, 4]].any()


@pytest.mark.parametrize("name", NANO)
def test_small_vocabularies_keep_the_end_the_largest(name: str) -> None:
    tokens = make_tower(name).tokenise(TEXTS)
    assert tokens.shape == (5, 32)
    assert tokens[0, :6].tolist()[0] == 2046
    assert tokens.max(axis=1).tolist() == [2047, 0, 2047, 0, 0]
    assert tokens[2, -1] == 2047  # cut off, and ended
    assert (tokens == 2047).sum(axis=1).tolist() == [1, 0, 1, 0, 0]


def test_folding_keeps_what_is_special_apart() -> None:
    tokens = np.arange(49408)
    folded = fold_tokens(tokens, 100)
    assert folded[[0, 49406, 49407]].tolist() == [0, 98, 99]
    assert set(folded[1:49406].tolist()) == set(range(1, 98))
    np.testing.assert_array_equal(fold_tokens(tokens, 49408), tokens)


@pytest.mark.parametrize("unit_length", [False, True])
def test_features_are_the_towers_own(unit_length: bool) -> None:
    tower = make_tower(unit_length=unit_length).eval()
    tokens = torch.from_numpy(tower.tokenise(TEXTS))
    with torch.no_grad():
        features = tower(tokens)
        expected = tower.tower(tokens[[0, 2]])
        alone = tower(tokens[:1])
    assert features.shape == (5, tower.feature_size)
    expected = torch.nn.functional.normalize(expected, dim=1) if unit_length else expected
    torch.testing.assert_close(features[[0, 2]], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, features[:1], atol=1e-5, rtol=1e-5)
    assert not features[[1, 3, 4]].any()
    assert not tower(tokens[[1, 3]]).any()


def test_cocas_own_token_stays_where_it_is() -> None:
    from open_clip.model import _build_text_tower

    torch.manual_seed(0)
    config = {"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    inner = _build_text_tower(24, {**config, "embed_cls": True, "output_tokens": True})
    tower = TextTower(inner, 24).eval()
    tokens = torch.from_numpy(tower.tokenise(["blue", "a blue saree"]))
    with torch.no_grad():
        torch.testing.assert_close(tower(tokens), inner(tokens)[0])
        torch.testing.assert_close(tower(tokens[:1]), inner(tokens)[0][:1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CLIPS)
def test_every_clip_has_a_text_encoder(name: str) -> None:
    with torch.device("meta"):
        tower = make_tower(name)
    assert tower.feature_size == CARDS[name].feature_size
    assert tower.tower.vocab_size == 49408


def _whole_clip(kind: type[torch.nn.Module], path: Path) -> dict[str, torch.Tensor]:
    """A file with a whole CLIP around the nano text encoder; the text encoder's tensors."""
    torch.manual_seed(5)
    card = CARDS["nano_vit"]
    clip = kind(64, card.settings["vision_cfg"], dict(card.text["text_cfg"]))
    save_file({name: each.contiguous() for name, each in clip.state_dict().items()}, path)
    names = make_tower().tower.state_dict()
    inner = clip.text if kind is CustomTextCLIP else clip
    return {name: each for name, each in inner.state_dict().items() if name in names}


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_weights_come_from_a_whole_checkpoint(kind: type[torch.nn.Module], tmp_path: Path) -> None:
    expected = _whole_clip(kind, tmp_path / "clip.safetensors")
    tower = make_tower(weights=str(tmp_path / "clip.safetensors"))
    loaded = tower.tower.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_weights_without_a_text_encoder_are_refused(tmp_path: Path) -> None:
    card = CARDS["nano_vit"]
    clip = CLIP(64, card.settings["vision_cfg"], dict(card.text["text_cfg"]))
    save_file(
        {f"visual.{name}": each for name, each in clip.visual.state_dict().items()},
        tmp_path / "a.safetensors",
    )
    with pytest.raises(BackboneError, match=r"(?s)The text encoder: The weights in a.*text\.weights"):
        make_tower(weights=str(tmp_path / "a.safetensors"))


def test_a_hub_that_cannot_be_reached_names_the_file() -> None:
    with torch.device("meta"), pytest.raises(WeightsUnavailable, match="laion2b"):
        make_tower("ViT-B-32", weights="hub")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mobilenetv2_100", "mobilenetv2_100 has no text encoder"),
        ("timm:resnet18", "timm:resnet18 has no text encoder"),
        ("open_clip:roberta-ViT-B-32", "by other tokens than CLIP's"),
        ("open_clip:ViT-B-16-SigLIP", "by other tokens than CLIP's"),
        ("open_clip:no-such", "has no text encoder"),
    ],
)
def test_a_backbone_without_a_text_encoder_is_refused(name: str, said: str) -> None:
    with pytest.raises(BackboneError) as refusal:
        make_tower(name)
    assert said in refusal.value.message
    assert "text.encoder" in refusal.value.hint
    assert "ViT-B-32" in refusal.value.hint
    assert "mobilenet" not in refusal.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({}, ("nano_vit", "file.pt")),
        ({"weights": "none"}, ("nano_vit", "none")),
        ({"encoder": "ViT-B-32"}, ("ViT-B-32", "hub")),
        ({"encoder": "ViT-B-32", "weights": "b.pt"}, ("ViT-B-32", "b.pt")),
    ],
)
def test_where_the_encoder_comes_from(text: dict[str, str], expected: tuple[str, str]) -> None:
    backbone = BackboneConfig(name="nano_vit", weights="file.pt", unit_length=True)
    reading = TextConfig.model_validate(text).reading(backbone)
    assert (reading.name, reading.weights) == expected
    assert reading.unit_length
