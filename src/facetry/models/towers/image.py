"""Image towers from open_clip and timm, with weights from the hub, from a file, or none.

A model's text tower is not built here. Shapes: B products, S side in pixels, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facetry.errors import BackboneError, WeightsUnavailable, first_line, nearest
from facetry.models.cards import BackboneCard, find_card
from facetry.models.config import BackboneConfig, Blocks, ImageConfig
from facetry.models.folder import open_folder
from facetry.models.towers.slim import Pruning
from facetry.models.towers.weights import load_weights
from facetry.product import Preprocess

# Keys of the libraries' pretrained configurations, and the fields of `Preprocess` they set.
_FIELDS = {"mean": "mean", "std": "std", "interpolation": "interpolation", "resize_mode": "resize"}
_DEFAULTS = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Backbone(nn.Module):
    """An image tower with its preprocessing: `uint8` photos (B, 3, S, S) in, features (B, D) out.

    While a tower that `is_pretrained` is trained, its batch norms use their pretrained statistics: those
    of a small batch of few categories are less reliable. Frozen batch norms do so too. With
    `unit_length` features have length 1. `intermediates` says how many of the tower's last stages or
    blocks, or which, add the mean and the maximum of their feature maps to the features. `prunings`
    lists what was removed from the tower, in order.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        tower: nn.Module,
        preprocess: Preprocess,
        feature_size: int,
        *,
        is_pretrained: bool = False,
        unit_length: bool = False,
        intermediates: Blocks = 0,
    ) -> None:
        super().__init__()
        self.is_pretrained = is_pretrained
        self.unit_length = unit_length
        self.intermediates = intermediates
        # Convolutions run up to 1.5 times faster with channels last; ViTs are as fast either way.
        self.tower = tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = preprocess
        self.feature_size = feature_size
        self.prunings: tuple[Pruning, ...] = ()
        for name in ("mean", "std"):
            channels = torch.tensor(getattr(preprocess, name)).view(1, 3, 1, 1) * 255
            self.register_buffer(name, channels, persistent=False)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training or evaluation, leaving pretrained and frozen batch norms in evaluation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the base of all
                is_frozen = module.affine and not module.weight.requires_grad
                module.train(mode and not (self.is_pretrained or is_frozen))
        return self

    def forward(self, photos: Tensor) -> Tensor:
        """Normalise and embed."""
        normal = (photos.contiguous(memory_format=torch.channels_last) - self.mean) / self.std
        if self.intermediates:
            features = _with_intermediates(self.tower, normal, self.intermediates)
        else:
            result: Tensor | tuple[Tensor, ...] = self.tower(normal)
            features = result[0] if isinstance(result, tuple) else result  # CoCa adds its tokens
        return functional.normalize(features, dim=-1) if self.unit_length else features


def _with_intermediates(tower: Any, photos: Tensor, blocks: Blocks) -> Tensor:
    """The tower's features, then mean and maximum of its last stages' or blocks' feature maps."""
    indices = blocks if isinstance(blocks, int) else list(blocks)
    found = tower.forward_intermediates(photos, indices=indices)
    if isinstance(found, dict):  # open_clip
        own, maps = found["image_features"], found["image_intermediates"]
    else:  # timm
        own, maps = tower.forward_head(found[0]), found[1]
    pooled = (pool for each in maps for pool in (each.mean(dim=(2, 3)), each.amax(dim=(2, 3))))
    return torch.cat([own, *pooled], dim=1)


@dataclass(frozen=True, slots=True)
class _Tower:
    """A tower without pretrained weights; `settings` is its library's preprocessing configuration."""

    module: nn.Module
    feature_size: int
    image_size_px: int
    settings: Mapping[str, Any]


def build_backbone(config: BackboneConfig, image: ImageConfig, *, with_weights: bool = True) -> Backbone:
    """Build the tower that `config` names, by default with its weights.

    Raises:
        BackboneError: an unknown name, tag or option, or weights that do not fit.
        WeightsUnavailable: the hub cannot be reached; the message names the file and the key to set.
    """
    card = find_card(config.name)
    build = {"open_clip": _open_clip_tower, "timm": _timm_tower}[card.library]
    try:
        tower = build(card, config, image.size_px)
    except (TypeError, ValueError, AssertionError) as error:
        raise BackboneError(
            f"{card.name} cannot be built with {config.options} at size {image.size_px}: {error}",
            hint="backbone.options must be known to the library, and image.size_px suit the model.",
        ) from error
    is_pretrained = config.weights != "none"
    if with_weights and is_pretrained:
        load_weights(tower.module, weights_file(card, config))
    wanted = {name: value for name, value in image.model_dump().items() if value is not None}
    own = {_FIELDS[key]: value for key, value in tower.settings.items() if key in _FIELDS and value}
    preprocess = Preprocess.model_validate(
        {**_DEFAULTS, "size_px": tower.image_size_px, **own, **wanted}
    )
    return Backbone(
        tower.module,
        preprocess,
        _feature_size(card, tower, config.intermediates),
        is_pretrained=is_pretrained,
        unit_length=config.unit_length,
        intermediates=config.intermediates,
    )


@torch.no_grad()
def _feature_size(card: BackboneCard, tower: _Tower, intermediates: Blocks) -> int:
    """The number of features, including those of intermediate stages or blocks."""
    if not intermediates:
        return tower.feature_size
    photo = torch.zeros(1, 3, tower.image_size_px, tower.image_size_px)
    try:
        return _with_intermediates(tower.module.eval(), photo, intermediates).shape[1]
    except (AttributeError, AssertionError, ValueError) as error:
        raise BackboneError(
            f"{card.name} does not return the outputs of {_named(intermediates)}: {first_line(error)}",
            hint="Set backbone.intermediates to smaller numbers, or to 0 for its own features only.",
        ) from error


def _named(blocks: Blocks) -> str:
    if isinstance(blocks, int):
        return f"its last {blocks} stages or blocks"
    return f"stages or blocks {', '.join(map(str, blocks))}, counted from 0"


def weights_file(card: BackboneCard, config: BackboneConfig) -> Path:
    """The file with a backbone's weights, downloaded if they are on the hub.

    Raises:
        BackboneError: no tag says which weights to download.
        WeightsUnavailable: the hub cannot be reached.
    """
    if config.weights != "hub":
        path = Path(config.weights)
        return _weights_of_folder(path, config) if path.is_dir() else path
    tag = config.tag or card.tag
    if tag is None:
        tags = ", ".join(_tags(card)) or "none"
        raise BackboneError(
            f"{card.name} does not say which pretrained weights to fetch.",
            hint="Set backbone.tag, or backbone.weights to 'none' or a file. "
            f"{card.library}'s tags for it: {tags}.",
        )
    fetch = {"open_clip": _fetch_open_clip, "timm": _fetch_timm}[card.library]
    try:
        return fetch(card.model, tag)
    except Exception as error:
        raise WeightsUnavailable(
            f"The weights of {card.name} ({tag}) could not be fetched: {type(error).__name__}.",
            hint=f"Download {_hub_file(card, tag)} where there is a network, and name the file with "
            "--weights FILE, or in the recipe with backbone.weights.",
        ) from error


def _weights_of_folder(folder: Path, config: BackboneConfig) -> Path:
    """The weights of the classifier in a model folder, if its tower is that of `config`.

    Raises:
        BackboneError: the folder holds another kind of predictor, or another tower.
        ModelFolderError: not a model folder, or a damaged one.
    """
    opened = open_folder(folder)
    recipe = opened.classifier_recipe
    if recipe is None:
        raise BackboneError(
            f"The model folder {folder} holds a predictor of the kind {opened.kind}, not a classifier.",
            hint="Name a classifier's folder; an ensemble has its members' in members/NAME.",
        )
    source = BackboneConfig.model_validate(recipe["backbone"])
    if (source.name, source.options, source.prune) != (config.name, config.options, None):
        raise BackboneError(
            f"The tower in {folder} is {_described(source)}; the recipe's is {_described(config)}.",
            hint="Set backbone.name and backbone.options to the folder's, and prune neither of them.",
        )
    return opened.weights


def _described(config: BackboneConfig) -> str:
    options = f" with {config.options}" if config.options else " without options"
    return config.name + options + (", pruned" if config.prune else "")


def _open_clip_tower(card: BackboneCard, config: BackboneConfig, size_px: int | None) -> _Tower:
    import open_clip
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    known = dict(card.settings) or open_clip.get_model_config(card.model)
    if known is None:
        raise BackboneError(
            f"open_clip has no model {card.model!r}.",
            hint=nearest(card.model, open_clip.list_models()),
        )
    tag = _known_tag(card, config)
    pretrained = open_clip.get_pretrained_cfg(card.model, tag) if tag else {}
    size = {"image_size": size_px} if size_px else {}
    vision = CLIPVisionCfg(**{**known["vision_cfg"], **config.options, **size})
    # Some weights, such as OpenAI's, were trained with QuickGELU though the name does not say so.
    quick_gelu = known.get("quick_gelu", False) or pretrained.get("quick_gelu", False)
    tower = _build_vision_tower(known["embed_dim"], vision, quick_gelu=quick_gelu)
    return _Tower(tower, known["embed_dim"], vision.image_size, pretrained)


def _timm_tower(card: BackboneCard, config: BackboneConfig, size_px: int | None) -> _Tower:
    import timm
    from timm.data.config import resolve_data_config

    if not timm.is_model(card.model):
        raise BackboneError(
            f"timm has no model {card.model!r}.", hint=nearest(card.model, timm.list_models())
        )
    tag = _known_tag(card, config)
    name = f"{card.model}.{tag}" if tag else card.model
    # Models with a fixed input size, such as ViTs, need it as an option; the others take any size.
    is_fixed = size_px and getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False)
    size_option = {"img_size": size_px} if is_fixed else {}
    options = {**card.settings, **size_option, **config.options}
    tower = timm.create_model(name, pretrained=False, num_classes=0, **options)
    known = resolve_data_config({}, model=tower)
    known["resize_mode"] = "squash" if known["crop_mode"] == "squash" else "shortest"
    size = size_px or card.image_size_px or known["input_size"][-1]
    with torch.no_grad():
        feature_size = tower.eval()(torch.zeros(1, 3, size, size)).shape[-1]
    return _Tower(tower, feature_size, size, known)


def _known_tag(card: BackboneCard, config: BackboneConfig) -> str | None:
    """The tag of the pretrained weights, if the library has it; None if no tag is given."""
    tag = config.tag or card.tag
    if tag and tag not in (tags := _tags(card)):
        raise BackboneError(
            f"{card.library} has no weights {tag!r} for {card.model}.", hint=nearest(tag, tags)
        )
    return tag


def _tags(card: BackboneCard) -> Sequence[str]:
    """The library's tags for a model."""
    if card.library == "timm":
        import timm

        return [name.partition(".")[2] for name in timm.list_pretrained(f"{card.model}.*")]
    import open_clip

    tags: list[str] = open_clip.list_pretrained_tags_by_model(card.model)
    return tags


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


def _hub_file(card: BackboneCard, tag: str) -> str:
    """The file to download by hand, as the hub names it."""
    if card.library == "timm":
        return f"model.safetensors of {_timm_repository(card.model, tag)}"
    import open_clip

    path = PurePosixPath(open_clip.get_pretrained_cfg(card.model, tag)["hf_hub"])
    if len(path.parts) > 2:
        return f"{path.name} of {path.parent}"
    return f"open_clip_model.safetensors or open_clip_pytorch_model.bin of {path}"
