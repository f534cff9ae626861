"""The sections of a classifier's recipe: its backbone, how photos are prepared for it, and its heads."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from facetry.models.cards import nano_card
from facetry.product import Background, Channels
from facetry.runtime.config import Config, KeyFacts

Share = Annotated[float, Field(ge=0, le=0.9)]

Depth = Annotated[int, Field(ge=0)]
Blocks = Depth | tuple[Depth, ...]
"""Stages or blocks of a tower: how many of the last, or which, counted from 0."""


def _is_file(weights: str) -> bool:
    """Whether `weights` is the path of a file or folder."""
    return weights not in {"hub", "none"}


def _without_file(background: Background) -> Background:
    """The nearest way to remove backgrounds that needs no file."""
    return "grabcut" if background == "rembg" else background


class PruneConfig(Config):
    """Which shares (0 to 0.9) of a tower are removed before training; see `models.towers.pruning`."""

    blocks: Share = 0.0
    """Share of the blocks whose output is as large as their input, over the whole tower."""

    heads: Share = 0.0
    """Share of the attention heads of each block."""

    channels: Share = 0.0
    """Share of the inner channels of each block, in its MLP or its convolutions."""


class LoraConfig(Config):
    """Low-rank updates of a tower's linear layers in place of the layers themselves (Hu et al. 2021).

    The tower's own weights stay frozen; the updates are added to them after training, so that the model
    folder is like any other.
    """

    rank: PositiveInt = 8
    """The rank of an update."""

    alpha: PositiveFloat = 16.0
    """`alpha` over `rank` scales the updates."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of an update's inputs that are left out in each step."""


class BackboneConfig(Config):
    """Which image encoder, and where its weights come from."""

    name: Annotated[str, KeyFacts(nano=nano_card)]
    """One of the names that `facetry models` lists."""

    weights: Annotated[str, KeyFacts(is_file=_is_file, nano="none")] = "hub"
    """`hub` fetches pretrained weights, `none` starts from scratch; anything else is a local file, or
    the model folder of a classifier with the same backbone and any taxonomy."""

    tag: Annotated[str | None, KeyFacts(nano=None)] = None
    """The library's tag of pretrained weights to use in place of the backbone's default ones."""

    frozen: bool = False
    """Embed each photo once and train only the heads."""

    options: Annotated[dict[str, Any], KeyFacts(nano={})] = {}  # noqa: RUF012 - pydantic copies it
    """Passed to the library: for timm any argument of the model, for open_clip fields of its vision
    configuration."""

    unit_length: Annotated[bool, Field(exclude_if=lambda wanted: not wanted), KeyFacts(nano=False)] = (
        False
    )
    """Scale features to length 1, as CoCa's own `encode_image` does."""

    intermediates: Annotated[Blocks, Field(exclude_if=lambda blocks: not blocks), KeyFacts(nano=0)] = 0
    """How many of a ConvNet's last stages, or a ViT's last blocks, add to the features: the mean and the
    maximum of their outputs over the photo, which show colour and texture better than the last layer.
    A list says which, counted from 0: `[3, 6, 9]`."""

    prune: Annotated[
        PruneConfig | None, Field(exclude_if=lambda wanted: wanted is None), KeyFacts(nano=None)
    ] = None
    """Make the tower smaller before it is trained.

    Measured: a quarter of the channels +0.007 (-0.008 to +0.030); off by default."""

    @model_validator(mode="after")
    def _can_recover(self) -> "BackboneConfig":
        if self.frozen and self.prune:
            raise ValueError("a frozen backbone cannot be pruned: it would not be trained to recover")
        return self


def _is_whole(backbone: BackboneConfig) -> BackboneConfig:
    if backbone.prune:
        raise ValueError("a backbone that is not trained cannot be pruned")
    return backbone


UntrainedBackbone = Annotated[BackboneConfig, AfterValidator(_is_whole)]
"""A backbone that is not trained: its features are used unchanged."""


class ImageConfig(Config):
    """How photos are prepared, if not as the backbone's defaults say. See `product.Preprocess`."""

    size_px: Annotated[Annotated[int, Field(ge=8, le=4096)] | None, KeyFacts(nano=None)] = None
    """The side of the square that a photo is resized to."""

    mean: Annotated[Channels | None, KeyFacts(nano=None)] = None
    """Subtracted from red, green and blue (0 to 1)."""

    std: Annotated[Channels | None, KeyFacts(nano=None)] = None
    """What red, green and blue are divided by after that."""

    interpolation: Annotated[Literal["bicubic", "bilinear"] | None, KeyFacts(nano=None)] = None
    """How pixels are interpolated when a photo is resized."""

    resize: Literal["shortest", "squash", "letterbox"] | None = None
    """How a photo becomes a square: `shortest` crops the longer side, `squash` changes the proportions,
    `letterbox` pads the shorter side."""

    background: Annotated[Background, KeyFacts(nano=_without_file)] = "keep"
    """`grabcut` or `rembg` makes everything but the product white.

    Measured (`grabcut`): +0.016 (-0.023 to +0.043); off by default."""

    background_model: Annotated[Path | None, KeyFacts(nano=None)] = None
    """The file with the network that `rembg` runs."""

    scaled_decoding: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether JPEGs at least four times as large as needed are decoded at a half, a quarter or an eighth
    of their size: faster, but the pixels differ slightly."""

    @model_validator(mode="after")
    def _has_its_model(self) -> "ImageConfig":
        if (self.background == "rembg") != (self.background_model is not None):
            raise ValueError("background 'rembg' needs a background_model, and nothing else has one")
        return self


class HeadsConfig(Config):
    """The MLP of every head (paper, Tables 3 and 4)."""

    hidden_dim: Annotated[int, Field(ge=1), KeyFacts(nano=32)] = 256
    """The width of a hidden layer."""

    num_hidden_layers: Annotated[int, Field(ge=1, le=3), KeyFacts(nano=1)] = 1
    """How many hidden layers there are."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The share of a hidden layer's units that is dropped in each step."""

    standardise: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether each feature is first scaled to a mean of 0 and a deviation of 1 over the training photos,
    so that small features count as much as large ones."""

    start: Annotated[
        Path | None,
        Field(exclude_if=lambda folder: folder is None),
        KeyFacts(nano=None, stored_features="default"),
    ] = None
    """A model folder: heads that its classifier has too start from the weights there."""

    norms: Annotated[Literal["every", "first"], Field(exclude_if=lambda where: where == "every")] = (
        "every"
    )
    """Layer norms after `every` hidden layer or, as in the paper's code, after the `first` only."""

    shared: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether attributes of the same name share one MLP across categories, in place of one MLP for each
    category and attribute: small categories then learn from large ones."""


class TextConfig(Config):
    """Text read along with the photo: the product's title or description; see `models.towers.text`."""

    fusion: Literal["concat", "gate"] = "concat"
    """How text and photo are combined: `concat` concatenates their features; `gate` adds to each of the
    photo's features an amount that a gate computes from photo and text."""

    drop: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """The share of products whose text is hidden in training, so that the model works without it too."""

    encoder: Annotated[str | None, KeyFacts(nano=None)] = None
    """The backbone whose text encoder is used; none: that of the recipe's backbone."""

    weights: Annotated[str | None, KeyFacts(is_file=_is_file, nano=None)] = None
    """The text encoder's weights, as in `backbone.weights`; none: the same source as the backbone's or,
    for another `encoder`, the hub."""

    def reading(self, backbone: BackboneConfig) -> BackboneConfig:
        """The backbone whose text encoder is used, with the weights for it."""
        if self.encoder is None:
            return backbone.model_copy(update={"weights": self.weights or backbone.weights})
        return BackboneConfig(
            name=self.encoder, weights=self.weights or "hub", unit_length=backbone.unit_length
        )


class PhotosConfig(Config):
    """How many photos of a product are read, and how they are combined; see `classifier.Neck`."""

    max: Annotated[int, Field(ge=1, le=32)] = 1
    """The most photos to read of a product: the first readable ones."""

    pool: Literal["mean", "attention"] = "mean"
    """How several photos are combined: the `mean` of their features, trained on one random photo of each
    product per epoch; or `attention`, trained on all of them, which learns how to weight them."""
