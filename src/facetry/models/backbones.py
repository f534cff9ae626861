"""Image towers from open_clip and timm, with weights from the hub, from a file, or none.

Only the image tower is built. Shapes: B products, S side in pixels, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facetry.errors import BackboneError, WeightsUnavailable, nearest
from facetry.models.cards import BackboneCard, find_card
from facetry.models.config import BackboneConfig, ImageConfig
from facetry.product import Preprocess

# What a library's pretrained configuration calls a field of `Preprocess`.
_FIELDS = {"mean": "mean", "std": "std", "interpolation": "interpolation", "resize_mode": "resize"}
_OWN_NUMBERS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Backbone(nn.Module):
    """An image tower with its preprocessing: `uint8` photos (B, 3, S, S) in, features (B, D) out."""

    mean: Tensor
    std: Tensor

    def __init__(self, tower: nn.Module, preprocess: Preprocess, feature_size: int) -> None:
        super().__init__()
        self.tower = tower
        self.preprocess = preprocess
        self.feature_size = feature_size
        for name in ("mean", "std"):
            channels = torch.tensor(getattr(preprocess, name)).view(1, 3, 1, 1) * 255
            self.register_buffer(name, channels, persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Normalise and embed."""
        features: Tensor | tuple[Tensor, ...] = self.tower((photos - self.mean) / self.std)
        return features[0] if isinstance(features, tuple) else features  # CoCa adds its tokens


@dataclass(frozen=True, slots=True)
class _Tower:
    """A tower without pretrained weights, and what its library knows of it."""

    module: nn.Module
    feature_size: int
    image_size_px: int
    numbers: Mapping[str, Any]


def build_backbone(config: BackboneConfig, image: ImageConfig, *, with_weights: bool = True) -> Backbone:
    """Build the tower that `config` names, with its weights unless told otherwise.

    Raises:
        BackboneError: an unknown name, or weights that do not fit.
        WeightsUnavailable: a hub that cannot be reached; names the file and the key to set.
    """
    card = find_card(config.name)
    build = {"open_clip": _open_clip_tower, "timm": _timm_tower}[card.library]
    tower = build(card, config, image.size_px)
    if with_weights and config.weights != "none":
        load_weights(tower.module, _weights_file(card, config))
    wanted = {name: value for name, value in image.model_dump().items() if value is not None}
    numbers = {_FIELDS[key]: value for key, value in tower.numbers.items() if key in _FIELDS and value}
    preprocess = Preprocess.model_validate(
        {**_OWN_NUMBERS, "size_px": tower.image_size_px, **numbers, **wanted}
    )
    return Backbone(tower.module, preprocess, tower.feature_size)


def load_weights(tower: nn.Module, path: Path) -> None:
    """Load a state dict of the tower, or of a whole CLIP or classifier around it.

    Raises:
        BackboneError: a missing file, one that is not tensors only, or weights of another model.
    """
    state = _read_state(path)
    visual = {
        key.removeprefix("visual."): each for key, each in state.items() if key.startswith("visual.")
    }
    expected = tower.state_dict()
    given = _fitted(visual or state, expected)
    missing = [key for key in expected if key not in given]
    wrong = [key for key, each in given.items() if each.shape != expected[key].shape]
    if missing or wrong:
        what = f"lack {missing[0]!r}" if missing else f"have another shape for {wrong[0]!r}"
        num_wrong = len(missing) + len(wrong)
        raise BackboneError(
            f"The weights in {path.name} {what} ({num_wrong} such tensors of {len(expected)}).",
            hint="They belong to another backbone, or to the same with other options.",
        )
    tower.load_state_dict(given)


def _fitted(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the tower has; a timm model inside a CLIP tower is called `trunk`."""
    if not any(key in expected for key in state):
        state = {f"trunk.{key}": each for key, each in state.items()}
    return {
        key: each.float() if each.is_floating_point() else each
        for key, each in state.items()
        if key in expected
    }


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BackboneError(
            f"There is no weights file {str(path)!r}.",
            hint="Set backbone.weights to a file, 'hub' or 'none'.",
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BackboneError(f"{path.name} cannot be read as weights: {error}") from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise BackboneError(f"{path.name} holds a {type(state).__name__}, not a state dict.")
    return {
        str(key).removeprefix("module."): each for key, each in state.items() if isinstance(each, Tensor)
    }


def _weights_file(card: BackboneCard, config: BackboneConfig) -> Path:
    if config.weights != "hub":
        return Path(config.weights)
    tag = config.tag or card.tag
    if tag is None:
        raise BackboneError(
            f"{card.name} has no pretrained weights of its own.",
            hint="Set backbone.weights to 'none' or to a file, or backbone.tag to a tag of its library.",
        )
    fetch = {"open_clip": _fetch_open_clip, "timm": _fetch_timm}[card.library]
    try:
        return fetch(card.model, tag)
    except BackboneError:
        raise
    except Exception as error:
        raise WeightsUnavailable(
            f"The weights of {card.name} ({tag}) could not be fetched: {type(error).__name__}.",
            hint=f"Download {_hub_place(card, tag)} where there is a network and set "
            "backbone.weights to the file (--set backbone.weights=FILE).",
        ) from error


def _open_clip_tower(card: BackboneCard, config: BackboneConfig, size_px: int | None) -> _Tower:
    import open_clip
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    known = dict(card.settings) or open_clip.get_model_config(card.model)
    if known is None:
        raise BackboneError(
            f"open_clip has no model {card.model!r}.",
            hint=nearest(card.model, open_clip.list_models()),
        )
    size = {"image_size": size_px} if size_px else {}
    vision = CLIPVisionCfg(**{**known["vision_cfg"], **config.options, **size})
    quick_gelu = known.get("quick_gelu", False)
    tower = _build_vision_tower(known["embed_dim"], vision, quick_gelu=quick_gelu)
    numbers = open_clip.get_pretrained_cfg(card.model, tag) if (tag := config.tag or card.tag) else {}
    return _Tower(tower, known["embed_dim"], vision.image_size, numbers)


def _timm_tower(card: BackboneCard, config: BackboneConfig, size_px: int | None) -> _Tower:
    import timm
    from timm.data.config import resolve_data_config

    if not timm.is_model(card.model):
        raise BackboneError(
            f"timm has no model {card.model!r}.", hint=nearest(card.model, timm.list_models())
        )
    tag = config.tag or card.tag
    name = f"{card.model}.{tag}" if tag else card.model
    tower = timm.create_model(
        name, pretrained=False, num_classes=0, **{**card.settings, **config.options}
    )
    known = resolve_data_config({}, model=tower)
    size = size_px or card.image_size_px or known["input_size"][-1]
    with torch.no_grad():
        feature_size = tower.eval()(torch.zeros(1, 3, size, size)).shape[-1]
    return _Tower(tower, feature_size, size, known)


def _fetch_open_clip(model: str, tag: str) -> Path:
    import open_clip

    return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(model, tag)))


def _fetch_timm(model: str, tag: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(_timm_repository(model, tag), "model.safetensors"))


def _timm_repository(model: str, tag: str) -> str:
    import timm

    known = timm.get_pretrained_cfg(f"{model}.{tag}")
    return str(known.hf_hub_id) if known else f"timm/{model}.{tag}"


def _hub_place(card: BackboneCard, tag: str) -> str:
    """The file to download by hand, as the hub names it."""
    if card.library == "timm":
        return f"model.safetensors of {_timm_repository(card.model, tag)}"
    import open_clip

    known = open_clip.get_pretrained_cfg(card.model, tag)
    return f"open_clip_pytorch_model.bin of {known.get('hf_hub', tag).rstrip('/')}"
