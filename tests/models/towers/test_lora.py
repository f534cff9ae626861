"""LoRA changes nothing at first, learns alone, and leaves a plain tower behind."""

import sys

import pytest
import torch
from torch import Tensor

from facetry.errors import BackboneError, MissingExtra
from facetry.models.config import BackboneConfig, ImageConfig, LoraConfig
from facetry.models.towers.blocks import checkpoint_blocks, freeze_blocks, tower_blocks
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.lora import add_lora, merge_lora
from facetry.models.towers.text import build_text_tower

# The layer scale of a ConvNeXt is so small at first that its blocks hardly count.
CONVNEXT = {"ls_init_value": 0.1}
TOWERS = {
    "open_clip's ViT": ("nano_vit", {}),
    "CoCa": ("nano_coca", {}),
    "Swin": ("nano_swin", {}),
    "ConvNeXt of convolutions": ("nano_convnext", CONVNEXT),
    "ConvNeXt of linear layers": ("nano_convnext", {**CONVNEXT, "conv_mlp": False}),
    "timm's ViT": ("timm:vit_tiny_patch16_224", {"depth": 2}),
}
LORA = LoraConfig(rank=4, alpha=6)


def build(name: str, options: dict[str, object]) -> Backbone:
    torch.manual_seed(0)
    config = BackboneConfig(name=name, weights="none", options=options)
    return build_backbone(config, ImageConfig(size_px=64))


def photos() -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, 3, 64, 64), generator=random, dtype=torch.uint8)


def learn(backbone: Backbone, *, num_steps: int = 3) -> None:
    """A few steps of what requires a gradient."""
    learning = [each for each in backbone.train().parameters() if each.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-2)
    for _ in range(num_steps):
        optimiser.zero_grad()
        (backbone(photos()) - 1).square().mean().backward()
        optimiser.step()


@torch.no_grad()
def embed(backbone: Backbone) -> Tensor:
    return backbone.eval()(photos())


@pytest.mark.parametrize(("name", "options"), TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("is_twice", [False, True], ids=["once", "computed twice"])
def test_merged_it_is_a_plain_tower_that_predicts_the_same(
    name: str, options: dict[str, object], is_twice: bool
) -> None:
    backbone = build(name, options)
    if is_twice:
        checkpoint_blocks(backbone)
    plain = {key: each.clone() for key, each in backbone.state_dict().items()}
    before = embed(backbone)
    add_lora(backbone, LORA)
    torch.testing.assert_close(embed(backbone), before, rtol=0, atol=1e-5)

    learn(backbone)
    learnt = embed(backbone)
    assert (learnt - before).abs().max() > 1e-2
    own = {key.replace(".base_layer", ""): each for key, each in backbone.state_dict().items()}
    assert all(torch.equal(own[key], each) for key, each in plain.items()), "the tower's own stay"

    merge_lora(backbone)
    assert backbone.state_dict().keys() == plain.keys()
    torch.testing.assert_close(embed(backbone), learnt, rtol=1e-5, atol=1e-5)
    assert all(each.requires_grad for each in backbone.parameters())
    fresh = build(name, options)
    fresh.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(embed(fresh), learnt, rtol=1e-5, atol=1e-5)


def test_a_text_encoder_takes_it_as_well() -> None:
    torch.manual_seed(0)
    reader = build_text_tower(BackboneConfig(name="nano_vit", weights="none"))
    names = set(reader.state_dict())
    tokens = torch.from_numpy(reader.tokenise(["navy blue kurti", "red saree"]))
    before = reader(tokens).detach()
    add_lora(reader, LORA)
    torch.testing.assert_close(reader(tokens), before)
    learning = [each for each in reader.parameters() if each.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        reader(tokens).square().sum().backward()
        optimiser.step()
    learned = reader(tokens).detach()
    assert (learned - before).abs().max() > 1e-3
    merge_lora(reader)
    assert set(reader.state_dict()) == names
    torch.testing.assert_close(reader(tokens), learned, atol=1e-4, rtol=1e-4)


def test_every_matrix_gets_a_gradient_and_nothing_else() -> None:
    backbone = build("nano_vit", {})
    add_lora(backbone, LORA)
    learn(backbone, num_steps=1)
    with_gradient = [name for name, each in backbone.named_parameters() if each.grad is not None]
    # In each of 4 blocks two matrices for attention and for each of the MLP's two layers.
    assert len(with_gradient) == 4 * 2 * 3
    assert all("lora_" in name for name in with_gradient)


def test_rank_and_alpha_count() -> None:
    sizes, moves = [], []
    for config in (
        LoraConfig(rank=2, alpha=4),
        LoraConfig(rank=8, alpha=16),
        LoraConfig(rank=8, alpha=1),
    ):
        backbone = build("nano_vit", {})
        before = embed(backbone)
        torch.manual_seed(2)
        add_lora(backbone, config)
        sizes.append(sum(each.numel() for each in backbone.parameters() if each.requires_grad))
        learn(backbone, num_steps=1)
        moves.append((embed(backbone) - before).abs().mean().item())
    assert sizes[1] == sizes[2] == 4 * sizes[0]
    assert moves[2] < 0.5 * moves[1]


def test_it_starts_as_torchs_generator_has_it() -> None:
    states = []
    for seed in (1, 1, 2):
        backbone = build("nano_vit", {})
        torch.manual_seed(seed)
        add_lora(backbone, LORA)
        states.append(backbone.state_dict())
    same = [all(torch.equal(states[0][name], other[name]) for name in states[0]) for other in states[1:]]
    assert same == [True, False]


def test_frozen_blocks_have_frozen_matrices() -> None:
    backbone = build("nano_vit", {})
    add_lora(backbone, LORA)
    freeze_blocks(backbone, 3)
    learning = {name for name, each in backbone.tower.named_parameters() if each.requires_grad}
    assert learning <= set(tower_blocks(backbone.tower).blocks[3].parameters)
    assert len(learning) == 2 * 3


def test_dropout_is_for_towers_whose_attention_is_of_linear_layers() -> None:
    config = LoraConfig(dropout=0.5)
    backbone = build("nano_swin", {})
    add_lora(backbone, config)
    learn(backbone)
    assert not torch.equal(backbone.train()(photos()), backbone(photos()))
    with pytest.raises(BackboneError, match=r"lora\.dropout is 0\.5") as caught:
        add_lora(build("nano_vit", {}), config)
    assert "Set training.lora.dropout to 0" in str(caught.value)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "nano_seresnext"])
def test_a_tower_without_linear_layers_is_refused(name: str) -> None:
    with pytest.raises(BackboneError, match="LoRA is for linear layers") as caught:
        add_lora(build(name, {}), LORA)
    assert "training.lora" in str(caught.value)


def test_merging_a_tower_without_it_changes_nothing() -> None:
    backbone = build("nano_vit", {})
    freeze_blocks(backbone, 1)
    merge_lora(backbone)
    assert not all(each.requires_grad for each in backbone.parameters())


def test_without_peft_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"facetry\[lora\]"):
        add_lora(build("nano_vit", {}), LORA)
