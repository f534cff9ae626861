"""What a recipe says of a classifier: its backbone, how photos are prepared for it, and its heads."""

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


def _is_file(weights: str) -> bool:
    """Whether weights are named by a file or folder."""
    return weights not in {"hub", "none"}


def _without_file(background: Background) -> Background:
    """The nearest way to remove backgrounds that needs no file."""
    return "grabcut" if background == "rembg" else background


class PruneConfig(Config):
    """What a tower loses before it is trained: shares, from 0 to 0.9; see `models.towers.pruning`."""

    blocks: Share = 0.0
    """Of the blocks whose output is as large as their input, over the whole tower."""

    heads: Share = 0.0
    """Of the attention heads of each block."""

    channels: Share = 0.0
    """Of the channels inside each block: an MLP's hidden ones, or those that convolutions expand to."""


class LoraConfig(Config):
    """Low-rank updates of a tower's linear layers in place of the layers themselves (Hu et al. 2021).

    The tower's own weights stay as they are; what was learned is added to them at the end, so that the
    model folder is like any other.
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
    """One of those that `facetry models` lists."""

    weights: Annotated[str, KeyFacts(is_file=_is_file, nano="none")] = "hub"
    """`hub` fetches the pretrained ones, `none` starts from scratch, anything else is a local file, or
    the model folder of a classifier with the same backbone, whatever its taxonomy."""

    tag: Annotated[str | None, KeyFacts(nano=None)] = None
    """Other pretrained weights than the backbone's usual ones, by the library's name for them."""

    frozen: bool = False
    """Embed each photo once and train the heads alone."""

    options: Annotated[dict[str, Any], KeyFacts(nano={})] = {}  # noqa: RUF012 - pydantic copies it
    """What goes to the library: for timm any argument of the model, for open_clip fields of its vision
    configuration."""

    unit_length: Annotated[bool, Field(exclude_if=lambda wanted: not wanted), KeyFacts(nano=False)] = (
        False
    )
    """Scale features to length 1, as CoCa's own `encode_image` does."""

    intermediates: Annotated[
        int, Field(ge=0, exclude_if=lambda number: not number), KeyFacts(nano=0)
    ] = 0
    """How many of a ConvNet's last stages, or a ViT's last blocks, join the features: the mean and the
    maximum over the picture of what each puts out. Colour and texture show more there than later."""

    prune: Annotated[
        PruneConfig | None, Field(exclude_if=lambda wanted: wanted is None), KeyFacts(nano=None)
    ] = None
    """Make the tower smaller before it is trained.

    Measured: a quarter of the channels +0.007 (-0.008 to +0.030); off by default."""

    @model_validator(mode="after")
    def _can_recover(self) -> "BackboneConfig":
        if self.frozen and self.prune:
            raise ValueError("a frozen backbone cannot be pruned: it would not learn to do without")
        return self


def _is_whole(backbone: BackboneConfig) -> BackboneConfig:
    if backbone.prune:
        raise ValueError("a backbone that is used as it is cannot be pruned")
    return backbone


UntrainedBackbone = Annotated[BackboneConfig, AfterValidator(_is_whole)]
"""A backbone whose features are used as they are."""


class ImageConfig(Config):
    """Departures from the backbone's own numbers; none keeps its own. See `product.Preprocess`."""

    size_px: Annotated[Annotated[int, Field(ge=8, le=4096)] | None, KeyFacts(nano=None)] = None
    """The side of the square that a photo becomes."""

    mean: Annotated[Channels | None, KeyFacts(nano=None)] = None
    """What is taken off red, green and blue, from 0 to 1."""

    std: Annotated[Channels | None, KeyFacts(nano=None)] = None
    """What red, green and blue are then divided by."""

    interpolation: Annotated[Literal["bicubic", "bilinear"] | None, KeyFacts(nano=None)] = None
    """How pixels are made from those around them."""

    resize: Literal["shortest", "squash", "letterbox"] | None = None
    """How a photo becomes a square: `shortest` cuts off what is too long, `squash` changes its
    proportions, `letterbox` fills up."""

    background: Annotated[Background, KeyFacts(nano=_without_file)] = "keep"
    """`grabcut` or `rembg` makes what is not the product white.

    Measured (`grabcut`): +0.016 (-0.023 to +0.043); off by default."""

    background_model: Annotated[Path | None, KeyFacts(nano=None)] = None
    """The file with the network that `rembg` runs."""

    scaled_decoding: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether JPEGs at least four times as large as they are wanted are decoded at a half, a quarter or
    an eighth of their size: faster, and not quite the same pixels."""

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
    """The share of a hidden layer that is left out in each step."""

    standardise: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether each feature is brought to a mean of 0 and a deviation of 1 first, those of the photos
    trained on, so that a small one counts as much as a large one."""

    start: Annotated[
        Path | None,
        Field(exclude_if=lambda folder: folder is None),
        KeyFacts(nano=None, stored_features="default"),
    ] = None
    """A model folder whose classifier's heads are where those of the same name begin."""

    norms: Annotated[Literal["every", "first"], Field(exclude_if=lambda where: where == "every")] = (
        "every"
    )
    """Layer norms after `every` hidden layer or, as in the paper's code, after the `first` alone."""

    shared: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False
    """Whether categories share the heads of attributes of one name, so that small ones learn from large
    ones: one MLP for each attribute in place of one for each category and attribute."""


class TextConfig(Config):
    """What is read beside the photo: the product's title or description; see `models.towers.text`."""

    fusion: Literal["concat", "gate"] = "concat"
    """How it joins the photo: `concat` lays its features beside the photo's; `gate` adds to each of the
    photo's features as much as photo and text together let through."""

    drop: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """The share of products whose text is hidden in training, so that the model can do without."""

    encoder: Annotated[str | None, KeyFacts(nano=None)] = None
    """The backbone whose text encoder reads; none takes the recipe's own."""

    weights: Annotated[str | None, KeyFacts(is_file=_is_file, nano=None)] = None
    """The text encoder's weights, as `backbone.weights`; none takes them from where the backbone has its
    own or, for another `encoder`, from the hub."""

    def reading(self, backbone: BackboneConfig) -> BackboneConfig:
        """The backbone whose text encoder reads, with the weights that are meant for it."""
        if self.encoder is None:
            return backbone.model_copy(update={"weights": self.weights or backbone.weights})
        return BackboneConfig(
            name=self.encoder, weights=self.weights or "hub", unit_length=backbone.unit_length
        )


class PhotosConfig(Config):
    """What is made of a product's photos; see `models.classifier.classifier`."""

    max: Annotated[int, Field(ge=1, le=32)] = 1
    """How many are read at most: the first that can be."""

    pool: Literal["mean", "attention"] = "mean"
    """How several become one: the `mean` of their features, learned from one photo of each product in
    each epoch, drawn anew; or `attention`, which learns from all of them which one to look at."""
