"""The backbones known by name: a table of cards, each with the licence of its weights.

Any other model of the two libraries is named `open_clip:NAME` or `timm:NAME`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from facetry.errors import BackboneError, RecipeError, nearest

Library = Literal["open_clip", "timm"]
Family = Literal["vit", "convnext", "coca", "seresnext", "swin", "mobilenet", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneCard:
    """One image encoder. `tag` names its pretrained weights at the library's hub; None: there are none.

    `settings` are the library's own: for open_clip a model configuration in place of a known name,
    for timm further arguments of the model. `text` is the configuration of a text encoder that open_clip
    does not know under the model's name. `family` decides which nano card replaces it in a rehearsal.
    """

    name: str
    family: Family
    library: Library
    model: str
    tag: str | None
    feature_size: int
    image_size_px: int
    licence: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: Mapping[str, Any] = field(default_factory=dict)


_NANO_VIT = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 8,
        "width": 128,
        "layers": 4,
        "head_width": 32,
    },
}
_NANO_COCA = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 64,
        "patch_size": 8,
        "width": 128,
        "layers": 4,
        "head_width": 32,
        "attentional_pool": True,
        "attn_pooler_queries": 16,
        "attn_pooler_heads": 4,
        "output_tokens": True,
    },
}
_NANO_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (32, 64, 128, 192), "drop_path_rate": 0.0}

# Groups of 8 channels: still a ResNeXt, but narrow enough for photos of 64 px.
_NANO_SERESNEXT = {"layers": (1, 1, 1, 1), "cardinality": 8, "channels": (32, 64, 96, 128)}
_NANO_SWIN = {
    "img_size": 64,
    "window_size": 4,
    "embed_dim": 32,
    "depths": (1, 1, 2, 1),
    "num_heads": (1, 2, 4, 8),
    "drop_path_rate": 0.0,
}

_NANO_TEXT = {
    "embed_dim": 64,
    "text_cfg": {"context_length": 32, "vocab_size": 2048, "width": 64, "heads": 2, "layers": 2},
}

_NO_WEIGHTS = "none: trained from scratch"

_CARDS = (
    BackboneCard(
        name="ViT-B-32",
        family="vit",
        library="open_clip",
        model="ViT-B-32",
        tag="laion2b_s34b_b79k",
        feature_size=512,
        image_size_px=224,
        licence="MIT",
    ),
    BackboneCard(
        name="ViT-L-14",
        family="vit",
        library="open_clip",
        model="ViT-L-14",
        tag="laion2b_s32b_b82k",
        feature_size=768,
        image_size_px=224,
        licence="MIT",
    ),
    BackboneCard(
        name="ViT-H-14-quickgelu",
        family="vit",
        library="open_clip",
        model="ViT-H-14-quickgelu",
        tag="dfn5b",
        feature_size=1024,
        image_size_px=224,
        licence="Apple ML Research Model (not open: research use only)",
    ),
    BackboneCard(
        name="convnext_xxlarge",
        family="convnext",
        library="open_clip",
        model="convnext_xxlarge",
        tag="laion2b_s34b_b82k_augreg_soup",
        feature_size=1024,
        image_size_px=256,
        licence="MIT",
    ),
    BackboneCard(
        name="coca_ViT-L-14",
        family="coca",
        library="open_clip",
        model="coca_ViT-L-14",
        tag="laion2b_s13b_b90k",
        feature_size=768,
        image_size_px=224,
        licence="MIT",
    ),
    BackboneCard(
        name="mobilenetv2_100",
        family="mobilenet",
        library="timm",
        model="mobilenetv2_100",
        tag="ra_in1k",
        feature_size=1280,
        image_size_px=224,
        licence="Apache-2.0",
    ),
    BackboneCard(
        name="dinov2_small",
        family="vit",
        library="timm",
        model="vit_small_patch14_dinov2",
        tag="lvd142m",
        feature_size=384,
        image_size_px=518,
        licence="Apache-2.0",
    ),
    BackboneCard(
        name="seresnext50_32x4d",
        family="seresnext",
        library="timm",
        model="seresnext50_32x4d",
        tag="racm_in1k",
        feature_size=2048,
        image_size_px=224,
        licence="Apache-2.0",
    ),
    BackboneCard(
        name="swin_base_patch4_window7_224",
        family="swin",
        library="timm",
        model="swin_base_patch4_window7_224",
        tag="ms_in22k_ft_in1k",
        feature_size=1024,
        image_size_px=224,
        licence="MIT",
    ),
    BackboneCard(
        name="nano_vit",
        family="vit",
        library="open_clip",
        model="nano_vit",
        tag=None,
        feature_size=128,
        image_size_px=64,
        licence=_NO_WEIGHTS,
        settings=_NANO_VIT,
        text=_NANO_TEXT,
    ),
    BackboneCard(
        name="nano_coca",
        family="coca",
        library="open_clip",
        model="nano_coca",
        tag=None,
        feature_size=128,
        image_size_px=64,
        licence=_NO_WEIGHTS,
        settings=_NANO_COCA,
        text=_NANO_TEXT,
    ),
    BackboneCard(
        name="nano_convnext",
        family="convnext",
        library="timm",
        model="convnext_atto",
        tag=None,
        feature_size=192,
        image_size_px=64,
        licence=_NO_WEIGHTS,
        settings=_NANO_CONVNEXT,
        text=_NANO_TEXT,
    ),
    BackboneCard(
        name="nano_seresnext",
        family="seresnext",
        library="timm",
        model="seresnext50_32x4d",
        tag=None,
        feature_size=512,
        image_size_px=64,
        licence=_NO_WEIGHTS,
        settings=_NANO_SERESNEXT,
        text=_NANO_TEXT,
    ),
    BackboneCard(
        name="nano_swin",
        family="swin",
        library="timm",
        model="swin_tiny_patch4_window7_224",
        tag=None,
        feature_size=256,
        image_size_px=64,
        licence=_NO_WEIGHTS,
        settings=_NANO_SWIN,
        text=_NANO_TEXT,
    ),
)

CARDS: Mapping[str, BackboneCard] = MappingProxyType({card.name: card for card in _CARDS})


def find_card(name: str) -> BackboneCard:
    """The card called `name`, or a new one for `open_clip:NAME` or `timm:NAME`.

    The sizes of a new card are 0: they are known once the model is built.

    Raises:
        BackboneError: `name` is none of these.
    """
    if name in CARDS:
        return CARDS[name]
    library, _, model = name.partition(":")
    if not model or library not in {"open_clip", "timm"}:
        raise BackboneError(
            f"Unknown backbone {name!r}.",
            hint=f"{nearest(name, CARDS)} Any other is named open_clip:NAME or timm:NAME.",
        )
    architecture, _, tag = model.partition(".") if library == "timm" else (model, "", "")
    return BackboneCard(
        name=name,
        family="other",
        library="open_clip" if library == "open_clip" else "timm",
        model=architecture,
        tag=tag or None,
        feature_size=0,
        image_size_px=0,
        licence="see the weights' source",
    )


NANO_CARDS: Final[Mapping[str, str]] = {
    "vit": "nano_vit",
    "convnext": "nano_convnext",
    "coca": "nano_coca",
    "seresnext": "nano_seresnext",
    "swin": "nano_swin",
    "mobilenet": "nano_convnext",
}
"""The small card that replaces each family of backbones in a rehearsal."""


def nano_card(name: str) -> str:
    """The name of the nano card of a backbone's family.

    Raises:
        RecipeError: the family has no nano card.
    """
    family = find_card(name).family
    if family not in NANO_CARDS:
        raise RecipeError(
            f"No small backbone stands for {name!r}.",
            hint=f"Families that have one: {', '.join(NANO_CARDS)}.",
        )
    return NANO_CARDS[family]
