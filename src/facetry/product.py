"""One product, and the form in which a predictor wants its photos.

Shapes: P photos of a product, S the side in pixels of a square photo.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Pixels = NDArray[np.uint8]
ProductId = int | str
Channels = tuple[float, float, float]
Background = Literal["keep", "grabcut", "rembg"]


class Preprocess(BaseModel):
    """How a photo becomes a predictor's input: resized to a square, then normalised per channel.

    `resize`: `shortest` scales the shorter side to `size_px` and crops the centre; `squash` ignores
    the aspect ratio; `letterbox` scales the longer side and pads with white. `mean` and `std` are in
    the range 0 to 1 and are applied by the model itself, so that pixels are passed as `uint8`.
    `background`: whether and how the background is first made white; see `images.background`.
    `background_model` is rembg's model file. `max_photos`: how many of a product's photos are wanted,
    the first ones that can be read. `scaled_decoding`: JPEGs may be decoded at a half, a quarter or an
    eighth of their size, if every preprocess of the same photo allows it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: Annotated[int, Field(ge=8, le=4096)]
    mean: Channels
    std: Channels
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash", "letterbox"] = "shortest"
    background: Annotated[Background, Field(exclude_if=lambda how: how == "keep")] = "keep"
    background_model: Annotated[Path | None, Field(exclude_if=lambda file: file is None)] = None
    max_photos: Annotated[int, Field(ge=1, exclude_if=lambda count: count == 1)] = 1
    scaled_decoding: Annotated[bool, Field(exclude_if=lambda is_on: not is_on)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One row of a catalogue.

    `page` is the address of its page in the shop, as the table has it. `labels` holds only known
    labels: a missing one is absent. `pixels` is filled by the loader: for each wanted `Preprocess` one
    `uint8` array (3, S, S), or (P, 3, S, S) if its `max_photos` is above 1. `skipped_photos` are those
    that the loader could not read. `digest`, which the loader computes only on demand, is the SHA-256
    sum (hex) of the bytes of the photos that it read; of objects, that of what their bucket's listing
    says of them, so that they need not be read to be known. A product without a readable photo has a
    `problem` and no pixels.
    """

    id: ProductId
    category: str
    photos: tuple[Path, ...] = ()
    text: str | None = None
    page: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    pixels: Mapping[Preprocess, Pixels] = field(default_factory=dict)
    skipped_photos: tuple[Path, ...] = ()
    digest: str = ""
    problem: str = ""
