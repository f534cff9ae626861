"""Backbones are the libraries' own models, and take weights from files of many forms and no other."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.model import CLIP, resize_pos_embed
from open_clip.transformer import AttentionalPooler, QuickGELU, VisionTransformer
from safetensors.torch import save_file as save_contiguous
from torch import Tensor, nn

from facetry.errors import BackboneError, WeightsUnavailable
from facetry.models.cards import CARDS
from facetry.models.config import BackboneConfig, ImageConfig
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.weights import load_weights

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HALVES = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SMALL_VIT = {"layers": 2, "width": 32, "head_width": 16}

State = dict[str, Tensor]


def build(name: str, *, image: Mapping[str, Any] | None = None, **config: Any) -> Backbone:
    wanted = BackboneConfig(name=name, **{"weights": "none", **config})
    return build_backbone(wanted, ImageConfig(**(image or {})))


def small_vit(**config: Any) -> Backbone:
    return build("nano_vit", options=SMALL_VIT, **config)


def save_file(content: State, path: Path) -> None:
    """Write safetensors, which hold no channels-last tensors."""
    save_contiguous({name: each.contiguous() for name, each in content.items()}, path)


def photos(num: int, side: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num, 3, side, side), generator=random, dtype=torch.uint8)


# What is built


def test_nano_vit_is_the_first_tower_in_miniature() -> None:
    backbone = build("nano_vit")
    assert type(backbone.tower) is VisionTransformer
    assert isinstance(backbone.tower.transformer.resblocks[0].mlp.gelu, QuickGELU)
    assert backbone(photos(2, 64)).shape == (2, CARDS["nano_vit"].feature_size)


def test_nano_coca_is_cocas_tower_in_miniature() -> None:
    backbone = build("nano_coca").eval()
    with torch.device("meta"):
        full = build("coca_ViT-L-14")
    for tower in (backbone.tower, full.tower):
        assert type(tower) is VisionTransformer
        assert type(tower.attn_pool) is AttentionalPooler
        assert tower.attn_pool_contrastive is None
        assert tower.output_tokens
    features = backbone(photos(2, 64))
    assert features.shape == (2, CARDS["nano_coca"].feature_size)


def test_nano_convnext_is_the_second_tower_in_miniature() -> None:
    backbone = build("nano_convnext")
    assert type(backbone.tower) is timm.models.convnext.ConvNeXt
    assert backbone(photos(2, 64)).shape == (2, CARDS["nano_convnext"].feature_size)


@pytest.mark.parametrize(
    ("name", "mean", "std", "resize"),
    [
        ("ViT-B-32", OPENAI_MEAN, OPENAI_STD, "shortest"),
        ("ViT-L-14", HALVES, HALVES, "shortest"),
        ("ViT-H-14-quickgelu", OPENAI_MEAN, OPENAI_STD, "squash"),
        ("convnext_xxlarge", OPENAI_MEAN, OPENAI_STD, "shortest"),
        ("coca_ViT-L-14", OPENAI_MEAN, OPENAI_STD, "shortest"),
        ("mobilenetv2_100", IMAGENET_MEAN, IMAGENET_STD, "shortest"),
    ],
)
def test_full_size_towers(
    name: str, mean: tuple[float, ...], std: tuple[float, ...], resize: str
) -> None:
    """Each card's sizes are the built model's; no memory is taken, as nothing is computed."""
    card = CARDS[name]
    with torch.device("meta"):
        backbone = build(name)
        features = backbone(torch.empty(2, 3, card.image_size_px, card.image_size_px))
    assert features.shape == (2, card.feature_size)
    assert backbone.feature_size == card.feature_size
    own = backbone.preprocess
    assert (own.size_px, own.mean, own.std) == (card.image_size_px, mean, std)
    assert (own.interpolation, own.resize) == ("bicubic", resize)
    if card.library == "open_clip":
        known = open_clip.get_pretrained_cfg(card.model, card.tag)
        assert (known["mean"], known["std"], known["resize_mode"]) == (mean, std, resize)


def test_the_image_section_overrides_the_towers_numbers() -> None:
    image = {"size_px": 32, "mean": (0.1, 0.2, 0.3), "interpolation": "bilinear", "resize": "letterbox"}
    backbone = small_vit(image=image)
    own = backbone.preprocess.model_dump()
    assert own == {**image, "std": HALVES}
    assert backbone(photos(1, 32)).shape == (1, 128)


@pytest.mark.parametrize(
    ("name", "tag", "size_px", "resize"),
    [
        ("timm:test_vit", "r160_in1k", 32, "shortest"),
        ("timm:test_resnet", "r160_in1k", 40, "shortest"),
        ("timm:vit_tiny_patch16_224", None, 32, "shortest"),
        ("timm:convnext_tiny", "in12k_ft_in1k_384", None, "squash"),
    ],
)
def test_other_models_of_timm(name: str, tag: str | None, size_px: int | None, resize: str) -> None:
    with torch.device("meta"):
        backbone = build(name, image={"size_px": size_px}, tag=tag)
        side = backbone.preprocess.size_px
        assert backbone(torch.empty(1, 3, side, side)).shape == (1, backbone.feature_size)
    assert side == size_px or size_px is None
    assert backbone.preprocess.resize == resize


def test_other_models_of_open_clip() -> None:
    with torch.device("meta"):
        backbone = build("open_clip:RN50", tag="openai")
        features = backbone(torch.empty(2, 3, 224, 224))
    assert features.shape == (2, backbone.feature_size) == (2, 1024)
    assert backbone.preprocess.mean == OPENAI_MEAN


def test_weights_trained_with_quick_gelu_get_it() -> None:
    """`ViT-B-32` itself has GELU, but OpenAI's weights for it were trained with QuickGELU."""
    with torch.device("meta"):
        gelus = {tag: build("ViT-B-32", tag=tag).tower for tag in ("openai", "laion2b_s34b_b79k")}
    kinds = {tag: type(each.transformer.resblocks[0].mlp.gelu) for tag, each in gelus.items()}
    assert kinds == {"openai": QuickGELU, "laion2b_s34b_b79k": torch.nn.GELU}


def test_a_tower_that_also_gives_tokens_gives_one_vector_per_photo() -> None:
    """As CoCa's does."""
    options = {**SMALL_VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    backbone = build("nano_vit", options=options).eval()
    assert isinstance(backbone.tower(torch.zeros(1, 3, 64, 64)), tuple)
    assert backbone(photos(3, 64)).shape == (3, 128)


def test_features_have_length_1_if_configured() -> None:
    torch.manual_seed(0)
    plain = small_vit().eval()
    torch.manual_seed(0)
    scaled = small_vit(unit_length=True).eval()
    features = plain(photos(3, 64))
    expected = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(scaled(photos(3, 64)), expected)


# Features of several depths


def maps_of(backbone: Backbone, modules: list[str], batch: Tensor) -> list[Tensor]:
    """What some modules of a tower put out for photos."""
    found: list[Tensor] = []
    for name in modules:
        backbone.tower.get_submodule(name).register_forward_hook(
            lambda _module, _given, output: found.append(output)
        )
    with torch.no_grad():
        backbone(batch)
    return found


@pytest.mark.parametrize(
    "name", ["nano_vit", "nano_coca", "nano_convnext", "mobilenetv2_100", "nano_swin"]
)
def test_the_towers_own_features_stay_the_first(name: str) -> None:
    torch.manual_seed(0)
    plain = build(name).eval()
    deep = build(name, intermediates=2).eval()
    deep.load_state_dict(plain.state_dict())
    side = plain.preprocess.size_px
    with torch.no_grad():
        own, features = plain(photos(2, side)), deep(photos(2, side))
    assert features.shape == (2, deep.feature_size)
    assert deep.feature_size > plain.feature_size
    torch.testing.assert_close(features[:, : own.shape[1]], own)


def test_a_stage_adds_the_mean_and_the_maximum_of_its_maps() -> None:
    backbone = build("nano_convnext", intermediates=2).eval()
    batch = photos(3, backbone.preprocess.size_px)
    maps = maps_of(backbone, ["stages.2", "stages.3"], batch)
    pooled = [pool for each in maps for pool in (each.mean(dim=(2, 3)), each.amax(dim=(2, 3)))]
    expected = torch.cat(pooled, dim=1)
    with torch.no_grad():
        torch.testing.assert_close(backbone(batch)[:, -expected.shape[1] :], expected)


def test_a_block_of_a_vit_adds_those_of_its_patches() -> None:
    backbone = small_vit(intermediates=1).eval()
    batch = photos(3, backbone.preprocess.size_px)
    (tokens,) = maps_of(backbone, ["transformer.resblocks.1"], batch)
    patches = tokens[:, 1:]  # the first is the token of the whole photo
    with torch.no_grad():
        features = backbone(batch)
    torch.testing.assert_close(features[:, -64:], torch.cat([patches.mean(1), patches.amax(1)], dim=1))


def test_more_depths_than_there_are() -> None:
    with pytest.raises(
        BackboneError, match="does not return the outputs of its last 9 stages"
    ) as caught:
        build("nano_convnext", intermediates=9)
    assert "backbone.intermediates" in caught.value.hint


def test_photos_are_normalised_as_open_clip_does() -> None:
    backbone = small_vit(image={"mean": OPENAI_MEAN, "std": OPENAI_STD}).eval()
    pixels = photos(2, 64)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (OPENAI_MEAN, OPENAI_STD))
    expected = backbone.tower((pixels.float() / 255 - mean) / std)
    torch.testing.assert_close(backbone(pixels), expected, rtol=0, atol=1e-4)


def test_the_numbers_of_preprocessing_are_no_weights() -> None:
    assert all(name.startswith("tower.") for name in small_vit().state_dict())


# What cannot be built


@pytest.mark.parametrize(
    ("name", "config", "message", "hint"),
    [
        ("open_clip:ViT-B-33", {}, "open_clip has no model 'ViT-B-33'", "Did you mean 'ViT-B-32'?"),
        ("timm:test_vitt", {}, "timm has no model 'test_vitt'", "Did you mean 'test_vit'?"),
        ("ViT-B-32", {"tag": "opnai"}, "no weights 'opnai'", "Did you mean 'openai'?"),
        ("timm:test_vit", {"tag": "x"}, "no weights 'x'", "Known: r160_in1k."),
        ("nano_vit", {"tag": "x"}, "no weights 'x'", "Known: ."),
        ("nano_vit", {"options": {"widht": 8}}, "widht", "backbone.options"),
        ("nano_convnext", {"options": {"depht": 8}}, "depht", "backbone.options"),
        ("nano_vit", {"weights": "hub"}, "does not say which", "backbone.tag"),
        ("timm:test_vit", {"weights": "hub"}, "does not say which", "r160_in1k"),
    ],
)
def test_what_cannot_be_built(name: str, config: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(BackboneError) as caught:
        build(name, **config)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "tag", "file"),
    [
        (
            "timm:test_vit",
            "r160_in1k",
            "model.safetensors of timm/test_vit.r160_in1k",
        ),
        (
            "mobilenetv2_100",
            None,
            "model.safetensors of timm/mobilenetv2_100.ra_in1k",
        ),
        (
            "open_clip:RN50",
            "openai",
            "open_clip_pytorch_model.bin of timm/resnet50_clip.openai",
        ),
        (
            "open_clip:ViTamin-S",
            "datacomp1b",
            "pytorch_model.bin of jienengchen/ViTamin-S",
        ),
    ],
)
def test_without_a_hub_the_file_and_the_key_are_named(name: str, tag: str | None, file: str) -> None:
    with pytest.raises(WeightsUnavailable) as caught, torch.device("meta"):
        build(name, tag=tag, weights="hub")
    assert file in caught.value.hint
    assert "--weights FILE" in caught.value.hint


# Weights from files


def as_it_is(state: State) -> object:
    return state


def in_state_dict(state: State) -> object:
    return {"epoch": 3, "state_dict": state, "name": "mine"}


def in_model(state: State) -> object:
    return {"model": state, "optimiser": {"lr": 0.1}}


def in_clip(state: State) -> object:
    return {
        **{f"visual.{key}": each for key, each in state.items()},
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": torch.zeros(8, 4),
    }


def in_parallel(state: State) -> object:
    return {f"module.{key}": each for key, each in state.items()}


def in_parallel_clip(state: State) -> object:
    clip = in_clip(state)
    assert isinstance(clip, dict)
    return {"state_dict": {f"module.{key}": each for key, each in clip.items()}}


def in_our_classifier(state: State) -> object:
    heads = {"heads.categories.0.output.bias": torch.zeros(2, 3)}
    return {**{f"backbone.tower.{key}": each for key, each in state.items()}, **heads}


def compiled(state: State) -> object:
    return {f"_orig_mod.{key}": each for key, each in state.items()}


def in_lightning(state: State) -> object:
    """A whole CLIP as an attribute of the module that was trained, together with its loss."""
    clip = in_clip(state)
    assert isinstance(clip, dict)
    inner = {f"model.{key}": each for key, each in clip.items()}
    return {"state_dict": {**inner, "metric.total": torch.zeros(1)}, "hparams": {"lr": 0.1}}


def in_compiled_parallel_clip(state: State) -> object:
    clip = in_clip(state)
    assert isinstance(clip, dict)
    return {"state_dict": {f"module._orig_mod.{key}": each for key, each in clip.items()}}


def with_a_text_tower(state: State) -> object:
    """Whose layers have the names of the image tower's."""
    text = {key: torch.zeros(3) for key in state if key.startswith("transformer.")}
    return {**text, **{f"visual.{key}": each for key, each in state.items()}}


def with_a_last_layer(state: State) -> object:
    return {**state, "head.weight": torch.zeros(10, 128), "head.bias": torch.zeros(10)}


PLAIN = (
    as_it_is,
    in_clip,
    in_parallel,
    in_our_classifier,
    with_a_last_layer,
    compiled,
    with_a_text_tower,
)
NESTED = (
    in_state_dict,
    in_model,
    in_parallel_clip,
    in_lightning,
    in_compiled_parallel_clip,
)  # safetensors hold nothing but tensors
FORMS = [(wrap, suffix) for wrap in (*PLAIN, *NESTED) for suffix in (".pt", ".bin")]
FORMS += [(wrap, ".safetensors") for wrap in PLAIN]


@pytest.mark.parametrize(("wrap", "suffix"), FORMS)
def test_weights_from_a_file(tmp_path: Path, wrap: Callable[[State], Any], suffix: str) -> None:
    source = small_vit().eval()
    content, path = wrap(source.tower.state_dict()), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    loaded = small_vit(weights=str(path)).eval()
    assert torch.equal(loaded(photos(2, 64)), source(photos(2, 64)))


def test_weights_of_a_whole_clip(tmp_path: Path) -> None:
    """A real one of open_clip, tiny, as its training writes it."""
    settings = CARDS["nano_vit"].settings
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    vision = {**settings["vision_cfg"], **SMALL_VIT}
    clip = CLIP(embed_dim=128, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()
    torch.save({"epoch": 1, "state_dict": clip.state_dict()}, tmp_path / "epoch_1.pt")
    backbone = small_vit(weights=str(tmp_path / "epoch_1.pt")).eval()
    normal = (photos(2, 64) - backbone.mean) / backbone.std
    torch.testing.assert_close(backbone(photos(2, 64)), clip.encode_image(normal))


def test_weights_of_a_timm_model_inside_a_clip(tmp_path: Path) -> None:
    """open_clip calls the timm model `trunk`; a file of timm's own does not."""
    options = {"timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": None}
    source = build("nano_vit", options=options)
    trunk = {
        key.removeprefix("trunk."): each
        for key, each in source.tower.state_dict().items()
        if key.startswith("trunk.")
    }
    save_file(trunk, tmp_path / "trunk.safetensors")
    loaded = build("nano_vit", options=options, weights=str(tmp_path / "trunk.safetensors"))
    assert torch.equal(loaded.eval()(photos(1, 64)), source.eval()(photos(1, 64)))


def test_a_missing_tensor_is_called_as_in_the_file(tmp_path: Path) -> None:
    clip = in_clip(small_vit().tower.state_dict())
    assert isinstance(clip, dict)
    del clip["visual.ln_post.bias"]
    torch.save(clip, tmp_path / "clip.pt")
    with pytest.raises(BackboneError, match=r"lack 'visual\.ln_post\.bias' \(1 such"):
        small_vit(weights=str(tmp_path / "clip.pt"))


def test_old_files_of_torch(tmp_path: Path) -> None:
    """Those before the zip format, which cannot be mapped into memory."""
    source = small_vit().eval()
    path = tmp_path / "old.pth"
    torch.save(source.tower.state_dict(), path, _use_new_zipfile_serialization=False)
    loaded = small_vit(weights=str(path)).eval()
    assert torch.equal(loaded(photos(1, 64)), source(photos(1, 64)))


def test_weights_in_half_precision_become_single_precision(tmp_path: Path) -> None:
    source = small_vit()
    half = {name: each.half() for name, each in source.tower.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    loaded = small_vit(weights=str(tmp_path / "half.safetensors"))
    for name, each in loaded.tower.state_dict().items():
        assert each.dtype == torch.float32
        assert torch.equal(each, half[name].float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**SMALL_VIT, "layers": 3}, "lack 'transformer.resblocks.2."),
        ({**SMALL_VIT, "layers": 1}, "also have 'transformer.resblocks.1."),
        ({**SMALL_VIT, "width": 48}, "shape otherwise 'class_embedding'"),
        ({**SMALL_VIT, "patch_size": 16}, "shape otherwise 'conv1.weight'"),
    ],
)
def test_weights_of_another_model(tmp_path: Path, options: dict[str, int], message: str) -> None:
    save_file(small_vit().tower.state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(BackboneError) as caught:
        build("nano_vit", options=options, weights=str(tmp_path / "other.safetensors"))
    assert "other.safetensors" in caught.value.message
    assert message in caught.value.message
    assert "another backbone" in caught.value.hint


@pytest.mark.parametrize("size_px", [32, 96, 128])
def test_position_embeddings_are_resampled_as_open_clip_does(tmp_path: Path, size_px: int) -> None:
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    vision = {**CARDS["nano_vit"].settings["vision_cfg"], **SMALL_VIT}
    trained = CLIP(embed_dim=128, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    torch.save(trained.state_dict(), tmp_path / "clip.pt")
    resized = CLIP(128, {**vision, "image_size": size_px}, text, quick_gelu=True)
    state = trained.state_dict()
    resize_pos_embed(state, resized)
    loaded = small_vit(image={"size_px": size_px}, weights=str(tmp_path / "clip.pt"))
    expected = state["visual.positional_embedding"]
    assert len(expected) != len(trained.state_dict()["visual.positional_embedding"])
    torch.testing.assert_close(loaded.tower.state_dict()["positional_embedding"], expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [("test_vit", {}), ("test_vit", {"reg_tokens": 4}), ("test_vit", {"class_token": False})],
)
def test_position_embeddings_are_resampled_as_timm_does(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """A file as DINOv2's: trained at one size, used at another."""
    pooled = {"global_pool": "avg"} if options.get("class_token") is False else {}
    options = {**options, **pooled}
    trained = timm.create_model(name, num_classes=0, img_size=160, **options)
    save_file(trained.state_dict(), tmp_path / "vit.safetensors")
    file = {"file": str(tmp_path / "vit.safetensors"), "num_classes": 0}
    theirs = timm.create_model(
        name, pretrained=True, num_classes=0, img_size=96, pretrained_cfg_overlay=file, **options
    )
    loaded = build(
        f"timm:{name}", image={"size_px": 96}, options=options, weights=str(tmp_path / "vit.safetensors")
    )
    ours = loaded.tower.state_dict()
    assert ours["pos_embed"].shape != trained.state_dict()["pos_embed"].shape
    for key, each in theirs.state_dict().items():
        assert torch.equal(ours[key], each)


def test_a_text_towers_positions_are_never_resampled(tmp_path: Path) -> None:
    """They are places in a sentence; and what is no square grid is no grid."""
    tower = small_vit().tower
    state = tower.state_dict()
    state["positional_embedding"] = torch.zeros(4, 32)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(BackboneError, match="shape otherwise 'positional_embedding'"):
        load_weights(tower, tmp_path / "odd.safetensors")
    text = nn.Module()
    text.positional_embedding = nn.Parameter(torch.zeros(16, 32))
    save_file({"positional_embedding": torch.zeros(25, 32)}, tmp_path / "text.safetensors")
    with pytest.raises(BackboneError, match="shape otherwise 'positional_embedding'"):
        load_weights(text, tmp_path / "text.safetensors")


def test_refused_weights_leave_the_tower_as_it_was(tmp_path: Path) -> None:
    tower = small_vit().tower
    before = {name: each.clone() for name, each in tower.state_dict().items()}
    state = {**before, "proj": torch.zeros(1)}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(BackboneError, match="proj"):
        load_weights(tower, tmp_path / "other.safetensors")
    assert all(torch.equal(each, before[name]) for name, each in tower.state_dict().items())


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("by_torch", [True, False])
def test_pickled_objects_are_never_run(tmp_path: Path, suffix: str, by_torch: bool) -> None:
    path, trace = tmp_path / f"trap{suffix}", tmp_path / "sprung"
    content = {"state_dict": {"proj": torch.zeros(1) if by_torch else 0}, "more": Trap(trace)}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(BackboneError) as caught:
        small_vit(weights=str(path))
    assert path.name in caught.value.message
    assert "weights_only" not in str(caught.value), "no advice to switch the protection off"
    assert not trace.exists()


def test_a_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(small_vit().tower, tmp_path / "model.pt")
    with pytest.raises(BackboneError, match="pickled objects") as caught:
        small_vit(weights=str(tmp_path / "model.pt"))
    assert "state dict" in caught.value.hint


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["cut short", "empty", "something else"])
def test_damaged_files(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    state = small_vit().tower.state_dict()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    path.write_bytes({"cut short": whole[: len(whole) // 2], "empty": b""}.get(damage, b"PK\3\4 no"))
    with pytest.raises(BackboneError, match=path.name):
        small_vit(weights=str(path))


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], 7])
def test_files_that_hold_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(BackboneError, match="not a state dict"):
        small_vit(weights=str(tmp_path / "odd.pt"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="There is no weights file") as caught:
        small_vit(weights=str(tmp_path / "nowhere.pt"))
    assert "backbone.weights" in caught.value.hint


@pytest.mark.parametrize("weights", ["none", "file"])
def test_pretrained_batch_norms_keep_their_statistics(tmp_path: Path, weights: str) -> None:
    path = tmp_path / "weights.pt"
    torch.save(timm.create_model("mobilenetv2_050", num_classes=0).state_dict(), path)
    config = BackboneConfig(
        name="timm:mobilenetv2_050", weights="none" if weights == "none" else str(path)
    )
    backbone = build_backbone(config, ImageConfig(size_px=32)).train()
    before = {name: each.clone() for name, each in backbone.named_buffers()}
    backbone(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)).sum().backward()
    moved = any(not torch.equal(each, before[name]) for name, each in backbone.named_buffers())
    assert moved == (weights == "none")
    assert all(parameter.grad is not None for parameter in backbone.parameters())
