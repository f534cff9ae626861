"""What a recipe says of a classifier: its backbone, how photos are prepared for it, and its heads."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from facetry.product import Background, Channels


class BackboneConfig(BaseModel):
    """Which image encoder, and where its weights come from.

    `weights`: `hub` fetches the pretrained ones, `none` starts from scratch, anything else is a local
    file. `tag` picks other pretrained weights than the card's. `options` go to the library: for timm
    any argument of the model, for open_clip fields of its vision configuration. `frozen` embeds each
    photo once and trains the heads alone. `unit_length` scales features to length 1, as CoCa's own
    `encode_image` does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    weights: str = "hub"
    tag: str | None = None
    frozen: bool = False
    options: dict[str, Any] = {}
    unit_length: Annotated[bool, Field(exclude_if=lambda wanted: not wanted)] = False


class ImageConfig(BaseModel):
    """Departures from the backbone's own numbers; None keeps its own. See `product.Preprocess`.

    `background` `grabcut` or `rembg` makes what is not the product white; rembg runs the network in
    the file `background_model`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size_px: Annotated[int, Field(ge=8, le=4096)] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize: Literal["shortest", "squash", "letterbox"] | None = None
    background: Background = "keep"
    background_model: Path | None = None

    @model_validator(mode="after")
    def _has_its_model(self) -> "ImageConfig":
        if (self.background == "rembg") != (self.background_model is not None):
            raise ValueError("background 'rembg' needs a background_model, and nothing else has one")
        return self


class HeadsConfig(BaseModel):
    """The MLP of every head (paper, Tables 3 and 4). `hidden_dim` is the width of a hidden layer.

    `norms`: layer norms after `every` hidden layer or, as in the paper's code, after the `first` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    hidden_dim: Annotated[int, Field(ge=1)] = 256
    num_hidden_layers: Annotated[int, Field(ge=1, le=3)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    norms: Annotated[Literal["every", "first"], Field(exclude_if=lambda where: where == "every")] = (
        "every"
    )
