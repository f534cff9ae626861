"""Pruned towers are smaller, keep what counts, and come back from their folders as they were."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from facetry.errors import BackboneError, ModelFolderError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.classifier.serialization import PRUNING, load_classifier, save_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig, PruneConfig
from facetry.models.folder import open_folder, write_checksums
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.pruning import choose_pruning, prune
from facetry.models.towers.slim import Pruning, SlimAttention, head_units
from tests.models.conftest import ODD

TRANSFORMERS = ("nano_vit", "nano_coca", "nano_swin", "timm:test_vit")
CONVOLUTIONS = ("nano_convnext", "nano_seresnext", "mobilenetv2_100")
WITH_BLOCKS = ("nano_vit", "nano_coca", "nano_swin", "timm:test_vit", "nano_convnext", "mobilenetv2_100")
SIZE_PX = {"timm:test_vit": 160}


def build(name: str) -> Backbone:
    torch.manual_seed(0)
    image = ImageConfig(size_px=SIZE_PX.get(name, 64))
    return build_backbone(BackboneConfig(name=name, weights="none"), image).eval()


def photos(backbone: Backbone, num: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(0)
    side = backbone.preprocess.size_px
    return torch.randint(0, 256, (num, 3, side, side), generator=random, dtype=torch.uint8)


def pruned(name: str, **shares: float) -> Backbone:
    backbone = build(name)
    prune(backbone, choose_pruning(backbone, PruneConfig(**shares), photos(backbone)))
    return backbone


def num_parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def num_operations(backbone: Backbone) -> int:
    """Of a forward pass in training: in evaluation some attention is not counted."""
    with FlopCounterMode(display=False) as counter:
        backbone.train()(photos(backbone))
    return int(counter.get_total_flops())


@torch.no_grad()
def features(backbone: Backbone) -> Tensor:
    result: Tensor = backbone.eval()(photos(backbone))
    return result


@pytest.mark.parametrize("name", [*TRANSFORMERS, *CONVOLUTIONS])
def test_pruning_nothing_leaves_a_tower_unchanged(name: str) -> None:
    backbone = pruned(name)
    assert torch.equal(features(backbone), features(build(name)))
    assert backbone.state_dict().keys() == build(name).state_dict().keys()


@pytest.mark.parametrize(
    ("name", "shares"),
    [(name, {"channels": 0.5}) for name in (*TRANSFORMERS, *CONVOLUTIONS)]
    + [(name, {"heads": 0.5}) for name in TRANSFORMERS]
    + [(name, {"blocks": 0.5}) for name in WITH_BLOCKS]
    + [(name, {"heads": 0.5, "channels": 0.5, "blocks": 0.25}) for name in TRANSFORMERS]
    + [(name, {"channels": 0.5, "blocks": 0.25}) for name in ("nano_convnext", "mobilenetv2_100")],
)
def test_a_pruned_tower_is_smaller_and_works(name: str, shares: Mapping[str, float]) -> None:
    whole, smaller = build(name), pruned(name, **shares)
    assert num_parameters(smaller) < num_parameters(whole)
    assert num_operations(smaller) < 0.95 * num_operations(whole)
    result = features(smaller)
    assert result.shape == features(whole).shape
    assert result.isfinite().all()
    smaller.train()(photos(smaller)).square().sum().backward()
    assert all(each.grad is not None for each in smaller.parameters() if each.requires_grad)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_parameters_fall_by_the_share(share: float) -> None:
    """Heads and channels: of the blocks' products all but the norms. Blocks: all of them."""
    whole = build("nano_vit")
    blocks = num_parameters(whole.tower.transformer.resblocks)  # type: ignore[union-attr,arg-type]
    for shares in ({"heads": share, "channels": share}, {"blocks": share}):
        lost = num_parameters(whole) - num_parameters(pruned("nano_vit", **shares))
        assert lost / blocks == pytest.approx(share, rel=0.02)


def test_channels_stay_a_multiple_of_eight() -> None:
    pruning = choose_pruning(backbone := build("nano_vit"), PruneConfig(channels=0.3), photos(backbone))
    assert {len(kept) for kept in pruning.channels.values()} == {360}  # of 512; 0.7 would be 358


def test_grouped_convolutions_lose_whole_groups() -> None:
    backbone = pruned("nano_seresnext", channels=0.25)
    middle = backbone.tower.get_submodule("layer1.0.conv2")
    assert isinstance(middle, nn.Conv2d)
    whole = build("nano_seresnext").tower.get_submodule("layer1.0.conv2")
    assert isinstance(whole, nn.Conv2d)
    assert (middle.groups, whole.groups) == (6, 8)
    assert middle.weight.shape[1] == whole.weight.shape[1]


@pytest.mark.parametrize("name", ["nano_vit", "nano_coca"])
@pytest.mark.parametrize("is_training", [True, False])
def test_own_attention_is_torchs(name: str, *, is_training: bool) -> None:
    backbone = build(name)
    attention = backbone.tower.get_submodule("transformer.resblocks.0.attn")
    assert isinstance(attention, nn.MultiheadAttention)
    attention.in_proj_bias.data.normal_()
    own = SlimAttention.of(attention.train(is_training))
    inputs = torch.randn(2, 5, 128)
    expected, _ = attention(inputs, inputs, inputs, need_weights=False)
    got, _ = own(inputs, inputs, inputs)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert own.training is is_training


# What goes is what counts least


@pytest.mark.parametrize(
    ("name", "block", "layer"),
    [
        ("nano_vit", "transformer.resblocks.1", "mlp.c_proj"),
        ("timm:test_vit", "blocks.1", "mlp.fc2"),
        ("nano_convnext", "stages.2.blocks.0", "mlp.fc2"),
        ("mobilenetv2_100", "blocks.2.1", "conv_pwl"),
    ],
)
def test_channels_that_add_nothing_go_first(name: str, block: str, layer: str) -> None:
    backbone = build(name)
    for norm in backbone.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.fill_(0.1), norm.bias.data.fill_(1.0)  # no channel is silent
    weight = backbone.tower.get_submodule(f"{block}.{layer}").weight
    assert isinstance(weight, nn.Parameter)
    num = weight.shape[1]
    weight.data[:, : num // 2] = 0
    pruning = choose_pruning(backbone, PruneConfig(channels=0.5), photos(backbone))
    assert pruning.channels[block] == tuple(range(num // 2, num))


def test_channels_that_are_never_used_go_first() -> None:
    """Their weights say nothing of it: only photos do."""
    backbone = build("nano_vit")
    first = backbone.tower.get_submodule("transformer.resblocks.1.mlp.c_fc")
    assert isinstance(first, nn.Linear)
    first.weight.data[:256], first.bias.data[:256] = 0, -100.0
    pruning = choose_pruning(backbone, PruneConfig(channels=0.5), photos(backbone))
    assert pruning.channels["transformer.resblocks.1"] == tuple(range(256, 512))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_removing_heads_that_add_nothing_changes_no_features(name: str) -> None:
    backbone = build(name)
    for module in backbone.tower.modules():
        if hasattr(module, "attn") and hasattr(module, "mlp"):
            attention = module.attn
            last = attention.out_proj if hasattr(attention, "out_proj") else attention.proj
            dim = last.in_features // attention.num_heads
            if attention.num_heads > 1:
                last.weight.data[:, :dim] = 0
    before = features(backbone)
    share = {"nano_swin": 0.125, "timm:test_vit": 0.5}.get(name, 0.25)
    pruning = choose_pruning(backbone, PruneConfig(heads=share), photos(backbone))
    prune(backbone, pruning)
    assert any(kept[0] == 1 for kept in pruning.heads.values())
    torch.testing.assert_close(features(backbone), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "block", "last"),
    [
        ("nano_vit", "transformer.resblocks.2", ("attn.out_proj", "mlp.c_proj")),
        ("nano_swin", "layers.2.blocks.1", ("attn.proj", "mlp.fc2")),
        ("nano_convnext", "stages.2.blocks.1", ("mlp.fc2",)),
        ("mobilenetv2_100", "blocks.3.2", ("bn3",)),
    ],
)
def test_removing_a_block_that_changes_nothing_changes_no_features(
    name: str, block: str, last: tuple[str, ...]
) -> None:
    backbone = build(name)
    for module in backbone.tower.modules():
        if isinstance(gamma := getattr(module, "gamma", None), nn.Parameter):
            gamma.data.fill_(1.0)  # it starts so small that no block of a ConvNeXt changes anything
    for layer in last:
        for parameter in backbone.tower.get_submodule(f"{block}.{layer}").parameters():
            parameter.data.zero_()
    before = features(backbone)
    num_blocks = {"nano_vit": 4, "nano_swin": 5, "nano_convnext": 5, "mobilenetv2_100": 10}[name]
    pruning = choose_pruning(backbone, PruneConfig(blocks=1 / num_blocks), photos(backbone))
    prune(backbone, pruning)
    assert pruning.blocks == (block,)
    torch.testing.assert_close(features(backbone), before, rtol=1e-4, atol=1e-5)


def test_the_same_photos_choose_the_same() -> None:
    first, second = (
        choose_pruning(each, PruneConfig(blocks=0.25, heads=0.25, channels=0.25), photos(each))
        for each in (build("nano_vit"), build("nano_vit"))
    )
    assert first == second


# The model folder


def write_folder(folder: Path, backbone: Backbone, name: str) -> Classifier:
    classifier = Classifier(backbone, Heads(ODD, backbone.feature_size, HeadsConfig(hidden_dim=8)))
    save_classifier(folder, classifier)
    recipe = {
        "kind": "classifier",
        "backbone": {"name": name, "weights": "none"},
        "heads": {"hidden_dim": 8},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))  # JSON is YAML
    write_checksums(folder)
    return classifier


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("nano_vit", {"blocks": 0.5, "heads": 0.5, "channels": 0.25}),
        ("nano_swin", {"blocks": 0.4, "heads": 0.5, "channels": 0.25}),
        ("nano_convnext", {"blocks": 0.4, "channels": 0.25}),
        ("nano_seresnext", {"channels": 0.25}),
        ("mobilenetv2_100", {"blocks": 0.2, "channels": 0.25}),
    ],
)
def test_comes_back_from_its_folder(name: str, shares: dict[str, float], tmp_path: Path) -> None:
    backbone = pruned(name, **shares)
    prune(backbone, choose_pruning(backbone, PruneConfig(channels=0.5), photos(backbone)))  # once more
    write_folder(tmp_path / "model", backbone, name)
    loaded = load_classifier(open_folder(tmp_path / "model")).backbone
    assert torch.equal(features(loaded), features(backbone))
    assert loaded.prunings == backbone.prunings
    assert len(loaded.prunings) == 2


def test_a_whole_tower_writes_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", build("nano_vit"), "nano_vit")
    assert not (tmp_path / "model" / PRUNING).exists()


WRONG: dict[str, Any] = {
    "other blocks": [{"heads": {"transformer.resblocks.9": [0]}}],
    "a block that is none": [{"blocks": ["transformer"]}],
    "heads it never had": [{"heads": {"transformer.resblocks.0": [7]}}],
    "no heads at all": [{"heads": {"transformer.resblocks.0": []}}],
    "something else": {"heads": 3},
    "another number": [{"channels": {"transformer.resblocks.0": [1, 2, 3]}}],
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_a_folder_whose_parts_do_not_fit_is_refused(content: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, pruned("nano_vit", heads=0.5), "nano_vit")
    (folder / PRUNING).write_text(json.dumps(content))
    with pytest.raises(ModelFolderError):
        load_classifier(open_folder(folder))
    shutil.rmtree(folder)


# What cannot be done


@pytest.mark.parametrize(
    ("name", "kind"),
    [("nano_convnext", "heads"), ("mobilenetv2_100", "heads"), ("nano_seresnext", "blocks")],
)
def test_a_tower_without_such_parts_is_refused(name: str, kind: str) -> None:
    with pytest.raises(BackboneError, match=f"no {kind} that can be pruned") as caught:
        pruned(name, **{kind: 0.5})
    assert f"backbone.prune.{kind}" in caught.value.hint


def test_a_tower_of_unknown_blocks_is_refused() -> None:
    with pytest.raises(BackboneError, match="no channels"):
        pruned("timm:test_efficientnet_gn", channels=0.5)


def test_a_pruning_of_another_tower_is_refused() -> None:
    with pytest.raises(BackboneError, match="another tower"):
        prune(build("nano_convnext"), Pruning(heads={"transformer.resblocks.0": (0,)}))


def test_heads_of_a_gated_attention_are_left_alone() -> None:
    block = build("timm:test_vit").tower.get_submodule("blocks.0")
    assert head_units(block)
    block.attn.gate = nn.Linear(8, 8)  # type: ignore[union-attr]
    assert head_units(block) is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"prune": {"blocks": 1.0}}, "less than or equal to 0.9"),
        ({"prune": {"layers": 0.5}}, "layers"),
        ({"prune": {"blocks": 0.5}, "frozen": True}, "frozen"),
    ],
)
def test_settings_that_make_no_sense_are_refused(content: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BackboneConfig.model_validate({"name": "nano_vit", **content})
