"""Measures of a photo's quality, from a small copy of it and from its file's header.

The loader makes the small copy beside those that the predictor wants, so that a photo is decoded once.

Shapes: B products, S the side of the small copy in pixels, Q qualities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.images import stack_pixels
from facetry.images.decode import photo_size
from facetry.product import Preprocess, Product

SIDE_PX: Final = 160
"""The side of the small copy: photos of all sizes are equally sharp if they are so at this size."""

NEAR_COLOUR: Final = 24
"""By how many of 255 levels a pixel of a plain background differs from the photo's edge at most."""

_LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_EDGE_PX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """One measure: its name, what its numbers mean, and the format to write them in."""

    name: str
    unit: str
    style: str = "{:.2f}"


QUALITIES: Final[tuple[Quality, ...]] = (
    Quality(name="brightness", unit="0 is black, 1 is white"),
    Quality(name="contrast", unit="standard deviation of the brightness"),
    Quality(name="colourfulness", unit="0 is grey, 1 is pure colour"),
    Quality(name="sharpness", unit="of edges, at one size for all photos", style="{:.1f}"),
    Quality(name="plain background", unit="share of the photo in the colour of its edge"),
    Quality(name="size", unit="pixels, the root of width times height", style="{:,.0f}"),
    Quality(name="aspect ratio", unit="width to height"),
)
"""In the order of the columns of `measure_quality`."""


def small_copy(preprocesses: Sequence[Preprocess]) -> Preprocess:
    """The form to measure, which lets photos be decoded as the predictor's own forms do."""
    is_scaled = all(each.scaled_decoding for each in preprocesses)
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return Preprocess(size_px=SIDE_PX, mean=black, std=white, resize="squash", scaled_decoding=is_scaled)


def measure_quality(products: Sequence[Product], form: Preprocess) -> NDArray[np.float32]:
    """The qualities (B, Q) of loaded products, of the first photo of each that can be read."""
    if not products:
        return np.zeros((0, len(QUALITIES)), dtype=np.float32)
    pixels = stack_pixels(products, form).astype(np.float32)  # B 3 S S
    grey = np.einsum("bchw,c->bhw", pixels, _LUMA) / 255  # B S S
    sizes = np.array([_size_of(each) for each in products], dtype=np.float32)  # B 2
    return np.column_stack(
        [
            grey.mean(axis=(1, 2)),
            grey.std(axis=(1, 2)),
            (pixels.max(axis=1) - pixels.min(axis=1)).mean(axis=(1, 2)) / 255,
            _sharpness(grey),
            _background_share(pixels),
            np.sqrt(sizes.prod(axis=1)),
            sizes[:, 0] / sizes[:, 1],
        ]
    ).astype(np.float32)


def _size_of(product: Product) -> tuple[int, int]:
    """Width and height of the photo that was read."""
    return photo_size(next(path for path in product.photos if path not in product.skipped_photos))


def _sharpness(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The standard deviation of the Laplacian (B), in grey levels of 255."""
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    deviation: NDArray[np.float32] = (255 * (around - 4 * inner)).std(axis=(1, 2))
    return deviation


def _background_share(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The share of pixels (B) in the median colour of the left, right and upper edge.

    The lower edge is left out: there a garment often reaches the end of the photo.
    """
    left, right = pixels[..., :_EDGE_PX], pixels[..., -_EDGE_PX:]
    upper = pixels[..., :_EDGE_PX, :]
    edges = [each.reshape(*pixels.shape[:2], -1) for each in (left, right, upper)]
    colour = np.median(np.concatenate(edges, axis=2), axis=2)  # B 3
    far = np.abs(pixels - colour[..., None, None]).max(axis=1)  # B S S
    share: NDArray[np.float32] = (far <= NEAR_COLOUR).mean(axis=(1, 2))
    return share
