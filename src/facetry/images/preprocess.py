"""Resizes a decoded photo to a predictor's input: the transform of evaluation and prediction.

Nothing in it is random. Training applies the random changes of `augment` to its result.

Photos are resized by cykooz-resizer (the Rust crate fast_image_resize), which computes what Pillow
computes, with vector instructions and without holding the GIL. On platforms without its wheel Pillow is
used; the two differ by rounding, a fifth of a grey level on average.

Shapes: h, w are the photo's height and width in pixels, m, n those of the resized photo, S the side of
the predictor's input.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from facetry.product import Pixels, Preprocess

Interpolation = Literal["bicubic", "bilinear"]
Size = tuple[int, int]
"""Height and width."""
Resize = Callable[[Pixels, Size, Interpolation], Pixels]

_PILLOW_FILTERS: Final = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}


def resize(pixels: Pixels, size: Size, interpolation: Interpolation = "bicubic") -> Pixels:
    """The photo (h, w, 3) scaled to `size` (m, n, 3).

    >>> resize(np.full((80, 60, 3), 9, np.uint8), (4, 3)).max(axis=(0, 1))
    array([9, 9, 9], dtype=uint8)
    """
    return _fastest_resize()(pixels, size, interpolation)


@cache
def _fastest_resize() -> Resize:
    """The fastest resize function that is installed."""
    try:
        import cykooz_resizer as fast
    except ImportError:
        return resize_by_pillow
    filters = {"bicubic": fast.FilterType.catmull_rom, "bilinear": fast.FilterType.bilinear}
    options = {
        name: fast.ResizeOptions(resize_alg=fast.ResizeAlg.convolution(kernel))
        for name, kernel in filters.items()
    }
    of_thread = threading.local()  # a resizer reuses its buffers, so each thread needs its own

    def resize_fast(pixels: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
        if not hasattr(of_thread, "resizer"):
            of_thread.resizer = fast.Resizer()
        height, width = pixels.shape[:2]
        photo = fast.ImageData(width, height, fast.PixelType.U8x3, pixels.tobytes())
        resized = fast.ImageData(size[1], size[0], fast.PixelType.U8x3)
        # Its `crop_box` would save resizing what is cropped later, but it reads beyond small photos
        # (4.0.1).
        of_thread.resizer.resize(photo, resized, options[interpolation])
        return np.frombuffer(resized.get_buffer(), np.uint8).reshape(*size, 3)

    return resize_fast


def resize_by_pillow(pixels: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
    """Resize as `resize` does, with Pillow: many times slower."""
    resized = Image.fromarray(pixels).resize((size[1], size[0]), _PILLOW_FILTERS[interpolation])
    return np.asarray(resized)


WHITE: Final = 255

MIN_OVERSAMPLING: Final = 2
"""A photo decoded at a smaller scale must have sides this many times those of the result."""

MAX_RATIO: Final = 16
"""The ratio of sides beyond which the ends of a long photo are dropped before it is resized."""


def preprocess(pixels: Pixels, spec: Preprocess, *, out: Pixels | None = None) -> Pixels:
    """Resize a photo (h, w, 3) as `spec` says, to (3, S, S) in the range 0 to 255.

    Equal to open_clip's preprocessing with Pillow to within about one grey level. `out` (3, S, S), if
    given, is filled and returned.

    >>> spec = Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1))
    >>> preprocess(np.zeros((1, 1000, 3), np.uint8), spec).shape
    (3, 8, 8)
    """
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.size > 0
    if spec.resize == "shortest":
        pixels = _centre(pixels)
    side = spec.size_px
    size = RESIZES[spec.resize](pixels.shape[:2], side)
    scaled = resize(pixels, size, spec.interpolation)
    square = np.empty((3, side, side), dtype=np.uint8) if out is None else out
    if min(size) < side:
        square[:] = WHITE
    (rows, to_rows), (columns, to_columns) = (_overlap(length, side) for length in size)
    square[:, to_rows, to_columns] = scaled[rows, columns].transpose(2, 0, 1)
    return square


def _overlap(length: int, side: int) -> tuple[slice, slice]:
    """For one side: which pixels of the scaled photo go into the square, and to which pixels there.

    >>> _overlap(10, 4), _overlap(3, 4)
    ((slice(3, 7, None), slice(0, 4, None)), (slice(0, 3, None), slice(0, 3, None)))
    """
    shared = min(length, side)
    begin, to = max(0, round((length - side) / 2)), max(0, (side - length) // 2)
    return slice(begin, begin + shared), slice(to, to + shared)


def _centre(pixels: Pixels) -> Pixels:
    """Drop the ends of a very long photo, which the crop would remove after enlarging them.

    Otherwise a photo of 1 x 60,000 px would be scaled to 224 x 13,440,000 px.
    """
    height, width = pixels.shape[:2]
    longest = MAX_RATIO * min(height, width)
    # The same number of pixels from both ends, so that the centre is the same.
    rows, columns = (max(0, (side - longest) // 2) for side in (height, width))
    return pixels[rows : height - rows, columns : width - columns]


def required_side_px(preprocesses: Sequence[Preprocess]) -> int | None:
    """How long the sides of a decoded photo must be at least; None if it is wanted at full size.

    >>> spec = Preprocess(size_px=224, mean=(0, 0, 0), std=(1, 1, 1), scaled_decoding=True)
    >>> required_side_px([spec])
    448
    """
    if not preprocesses or not all(spec.scaled_decoding for spec in preprocesses):
        return None
    return MIN_OVERSAMPLING * max(spec.size_px for spec in preprocesses)


def reduce(pixels: Pixels, side_px: int) -> Pixels:
    """Scale a photo (h, w, 3) down until its shorter side is `side_px`; never up.

    >>> reduce(np.zeros((80, 60, 3), np.uint8), 30).shape
    (40, 30, 3)
    """
    height, width = pixels.shape[:2]
    if min(height, width) <= side_px:
        return pixels
    return resize(pixels, _with_shorter_side((height, width), side_px))


def _with_shorter_side(size: Size, side_px: int) -> Size:
    """A photo's size once its shorter side is `side_px`; the longer one is rounded down."""
    height, width = size
    shorter = min(size)
    return side_px * height // shorter, side_px * width // shorter


def _with_longer_side(size: Size, side_px: int) -> Size:
    """A photo's size once its longer side is `side_px`; the shorter one is at least 1."""
    longest = max(size)
    return max(1, round(size[0] * side_px / longest)), max(1, round(size[1] * side_px / longest))


RESIZES: Final[Mapping[str, Callable[[Size, int], Size]]] = {
    "shortest": _with_shorter_side,
    "squash": lambda _, side_px: (side_px, side_px),
    "letterbox": _with_longer_side,
}
"""The size that a photo is scaled to; what exceeds the square is cropped, empty space is white."""
