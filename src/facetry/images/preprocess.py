"""A decoded photo to a predictor's input: the transform of evaluation and prediction.

Nothing in it is random. What training adds is in `augment`, and is applied to what comes out here.

Shapes: h, w are the photo's height and width in pixels, S the side asked for.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from facetry.product import Pixels, Preprocess

if TYPE_CHECKING:
    import torch

WHITE: Final = 255
MAX_RATIO: Final = 16


def preprocess(pixels: Pixels, spec: Preprocess) -> Pixels:
    """Resize a photo (h, w, 3) as `spec` asks, to (3, S, S) in the range 0 to 255.

    Equal to open_clip's preprocessing through Pillow to within about one grey level.

    >>> spec = Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1))
    >>> preprocess(np.zeros((1, 1000, 3), np.uint8), spec).shape
    (3, 8, 8)
    """
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size > 0
    return RESIZES[spec.resize](pixels, spec)


def reduce(pixels: Pixels, side_px: int) -> Pixels:
    """Scale a photo (h, w, 3) down until its shorter side is `side_px`; never up.

    >>> reduce(np.zeros((80, 60, 3), np.uint8), 30).shape
    (40, 30, 3)
    """
    if min(pixels.shape[:2]) <= side_px:
        return pixels
    reduced = _resize(_as_tensor(pixels), [side_px], "bicubic")  # (3, h, w)
    return np.ascontiguousarray(reduced.permute(1, 2, 0).numpy())


def _shortest(pixels: Pixels, spec: Preprocess) -> Pixels:
    """Scale the shorter side to S, then crop the centre."""
    from torchvision.transforms.v2 import functional

    photo = _as_tensor(_centre(pixels))  # (3, h, w)
    scaled = _resize(photo, [spec.size_px], spec.interpolation)
    return _as_pixels(functional.center_crop(scaled, [spec.size_px]))


def _squash(pixels: Pixels, spec: Preprocess) -> Pixels:
    """Scale both sides to S, whatever that does to the proportions."""
    return _as_pixels(_resize(_as_tensor(pixels), [spec.size_px, spec.size_px], spec.interpolation))


def _letterbox(pixels: Pixels, spec: Preprocess) -> Pixels:
    """Scale the longer side to S and fill the rest with white on both sides."""
    height, width = (_scaled(side, pixels, spec) for side in pixels.shape[:2])
    top, left = (spec.size_px - height) // 2, (spec.size_px - width) // 2
    scaled = _resize(_as_tensor(pixels), [height, width], spec.interpolation)  # (3, h, w)
    square = np.full((3, spec.size_px, spec.size_px), WHITE, dtype=np.uint8)
    square[:, top : top + height, left : left + width] = scaled.numpy()
    return square


def _scaled(side: int, pixels: Pixels, spec: Preprocess) -> int:
    """A side's length once the longer side is S; a thread keeps one pixel."""
    longest: int = max(pixels.shape[:2])
    return max(1, round(side * spec.size_px / longest))


def _centre(pixels: Pixels) -> Pixels:
    """Drop the ends of a very long photo, which the crop would throw away once enlarged.

    Scaled whole, a photo of 1 x 60,000 px would become one of 224 x 13,440,000 px.
    """
    height, width = pixels.shape[:2]
    longest = MAX_RATIO * min(height, width)
    # The same number of pixels from both ends: the centre stays where it is.
    rows, columns = (max(0, (side - longest) // 2) for side in (height, width))
    return pixels[rows : height - rows, columns : width - columns]


def _as_tensor(pixels: Pixels) -> "torch.Tensor":
    """Pixels (h, w, 3) as a tensor (3, h, w) over the same memory, if that is writable."""
    import torch

    return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(2, 0, 1)


def _resize(photo: "torch.Tensor", size: list[int], interpolation: str) -> "torch.Tensor":
    # For three interleaved channels of uint8 torch stays on the calling thread: the loader's many
    # threads do not each start a team of their own.
    from torchvision.transforms.v2 import InterpolationMode, functional

    mode = InterpolationMode(interpolation)
    resized: torch.Tensor = functional.resize(photo, size, interpolation=mode, antialias=True)
    return resized


def _as_pixels(photo: "torch.Tensor") -> Pixels:
    # Copied by numpy: torch would share even so small a copy out to several threads.
    return np.ascontiguousarray(photo.numpy())


RESIZES: Final[Mapping[str, Callable[[Pixels, Preprocess], Pixels]]] = {
    "shortest": _shortest,
    "squash": _squash,
    "letterbox": _letterbox,
}
