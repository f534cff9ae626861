"""Every tower's blocks are found, in order and whole; they can be frozen, and computed twice."""

import pytest
import torch
from torch import Tensor, nn

from facetry.errors import BackboneError
from facetry.models.cards import CARDS
from facetry.models.config import BackboneConfig, ImageConfig
from facetry.models.towers.blocks import checkpoint_blocks, freeze_blocks, tower_blocks
from facetry.models.towers.image import Backbone, build_backbone
from facetry.product import Preprocess

NUM_BLOCKS = {
    "ViT-B-32": 12,
    "ViT-L-14": 24,
    "ViT-H-14-quickgelu": 32,
    "convnext_xxlarge": 40,
    "coca_ViT-L-14": 24,
    "mobilenetv2_100": 17,
    "dinov2_small": 12,
    "seresnext50_32x4d": 16,
    "swin_base_patch4_window7_224": 24,
    "nano_vit": 4,
    "nano_coca": 4,
    "nano_convnext": 5,
    "nano_seresnext": 4,
    "nano_swin": 5,
}
OTHERS = {
    "open_clip:RN50": 16,
    "open_clip:ViT-B-16-SigLIP": 12,
    "timm:vit_tiny_patch16_224": 12,
    "timm:mobilenetv3_small_050": 12,
    "timm:efficientnet_b0": 16,
}
NANO = [name for name in CARDS if name.startswith("nano_")]


def build(name: str, **options: object) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name=name, weights="none", options=options), ImageConfig())


def build_outline(name: str) -> Backbone:
    """The backbone without memory for its weights."""
    with torch.device("meta"):
        return build(name)


def without_blocks() -> Backbone:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    return Backbone(tower, Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)), 4)


def photos(num: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (num, 3, 64, 64), generator=random, dtype=torch.uint8)


def test_every_card_is_here() -> None:
    assert NUM_BLOCKS.keys() == CARDS.keys()


@pytest.mark.parametrize("name", [*NUM_BLOCKS, *OTHERS])
def test_every_parameter_is_in_its_place(name: str) -> None:
    tower = build_outline(name).tower
    parts = tower_blocks(tower)
    assert len(parts.blocks) == (NUM_BLOCKS | OTHERS)[name]
    inside = [name for block in parts.blocks for name in block.parameters]
    named = [name for name, _ in tower.named_parameters()]
    assert sorted([*parts.stem, *inside, *parts.tail]) == sorted(named)
    assert parts.stem
    for block in parts.blocks:
        own = [
            f"{module}.{name}"
            for module in block.modules
            for name, _ in tower.get_submodule(module).named_parameters()
        ]
        assert sorted(own) == sorted(block.parameters)


@pytest.mark.parametrize("name", NUM_BLOCKS)
def test_depths_count_the_blocks_that_follow(name: str) -> None:
    parts = tower_blocks(build_outline(name).tower)
    depths = parts.depths
    assert {depths[name] for name in parts.stem} == {NUM_BLOCKS[name]}
    assert {depths[name] for name in parts.tail} <= {0}
    ordered = [{depths[name] for name in block.parameters} for block in parts.blocks]
    assert ordered == [{depth} for depth in reversed(range(NUM_BLOCKS[name]))]


@pytest.mark.parametrize("name", NANO)
def test_the_order_is_that_of_the_computation(name: str) -> None:
    backbone = build(name).eval()
    called: list[str] = []
    expected = [name for block in tower_blocks(backbone.tower).blocks for name in block.modules]
    for module in expected:
        backbone.tower.get_submodule(module).register_forward_hook(
            lambda *_, module=module: called.append(module)
        )
    backbone(photos(1))
    assert called == expected


def test_a_tower_without_blocks_is_refused() -> None:
    with pytest.raises(BackboneError, match="what the blocks of a Sequential are") as caught:
        freeze_blocks(without_blocks(), 1)
    assert "training.frozen_blocks" in str(caught.value)
    freeze_blocks(without_blocks(), 0)


# Frozen blocks


@pytest.mark.parametrize("name", NANO)
@pytest.mark.parametrize("num_blocks", [1, 3])
def test_the_first_blocks_learn_no_more(name: str, num_blocks: int) -> None:
    backbone = build(name)
    freeze_blocks(backbone, num_blocks)
    parts = tower_blocks(backbone.tower)
    expected = {*parts.stem, *(each for block in parts.blocks[:num_blocks] for each in block.parameters)}
    frozen = {name for name, each in backbone.tower.named_parameters() if not each.requires_grad}
    assert frozen == expected
    backbone.train()(photos()).square().sum().backward()
    for each, parameter in backbone.tower.named_parameters():
        assert (parameter.grad is None) == (each in expected)


def test_more_blocks_than_there_are_are_an_error() -> None:
    backbone = build("nano_vit")
    freeze_blocks(backbone, 4)
    assert backbone.tower.proj.requires_grad
    with pytest.raises(BackboneError, match="frozen_blocks is 5, but the tower has 4 blocks") as caught:
        freeze_blocks(backbone, 5)
    assert "backbone.frozen" in str(caught.value)


def test_frozen_batch_norms_keep_their_statistics() -> None:
    backbone = build("nano_seresnext")
    before = {name: each.clone() for name, each in backbone.tower.named_buffers()}
    freeze_blocks(backbone, 2)
    backbone.train()(photos())
    moved = {
        name.partition(".")[0]
        for name, each in backbone.tower.named_buffers()
        if not torch.equal(each, before[name])
    }
    assert moved == {"layer3", "layer4"}
    assert not any(module.training for module in backbone.eval().modules())


# Blocks computed twice


def kept_bytes(backbone: Backbone) -> int:
    """How much of a forward pass is kept for the backward pass, weights left out."""
    weights = {each.untyped_storage().data_ptr() for each in backbone.tower.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = backbone(photos())
    del result
    return sum(kept.values())


def gradients(backbone: Backbone) -> dict[str, Tensor]:
    torch.manual_seed(3)
    backbone.zero_grad()
    backbone(photos()).square().mean().backward()
    return {name: each.grad.clone() for name, each in backbone.named_parameters()}


@pytest.mark.parametrize("name", NANO)
def test_blocks_computed_twice_have_the_same_gradients_in_less_memory(name: str) -> None:
    backbone = build(name).train()
    expected, before = gradients(backbone), kept_bytes(backbone)
    checkpoint_blocks(backbone)
    after = kept_bytes(backbone)
    assert after < 0.6 * before
    for each, gradient in gradients(backbone).items():
        torch.testing.assert_close(gradient, expected[each], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dropout", [{"drop_path_rate": 0.4}])
def test_recomputed_blocks_draw_the_same_random_numbers(dropout: dict[str, float]) -> None:
    backbone = build("nano_swin", **dropout).train()
    expected = gradients(backbone)
    checkpoint_blocks(backbone)
    for each, gradient in gradients(backbone).items():
        torch.testing.assert_close(gradient, expected[each], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NUM_BLOCKS)
def test_every_card_can_compute_its_blocks_twice(name: str) -> None:
    checkpoint_blocks(build_outline(name))


@pytest.mark.parametrize(
    ("name", "kind"), [("open_clip:RN50", "ModifiedResNet"), ("timm:vgg11", "VGG"), (None, "Sequential")]
)
def test_a_tower_that_cannot_is_refused(name: str | None, kind: str) -> None:
    backbone = build_outline(name) if name else without_blocks()
    with pytest.raises(BackboneError, match=f"kind {kind} cannot compute") as caught:
        checkpoint_blocks(backbone)
    assert "training.accumulation" in str(caught.value)
