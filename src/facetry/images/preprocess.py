"""A decoded photo to a predictor's input: the transform of evaluation and prediction.

Nothing in it is random. What training adds is in `augment`, and is applied to what comes out here.

Shapes: h, w are the photo's height and width in pixels, S the side asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from facetry.images.resize import Size, resize
from facetry.product import Pixels, Preprocess

WHITE: Final = 255


LEAST_SCALE: Final = 2
"""How many times as long as in the result a side has to be in a photo decoded at a smaller scale."""


MAX_RATIO: Final = 16


def preprocess(pixels: Pixels, spec: Preprocess, *, out: Pixels | None = None) -> Pixels:
    """Resize a photo (h, w, 3) as `spec` asks, to (3, S, S) in the range 0 to 255.

    Equal to open_clip's preprocessing through Pillow to within about one grey level. With `out`
    (3, S, S) that is filled and returned.

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
    """The middle of a scaled side that the square has room for, and where in the square it lies.

    >>> _overlap(10, 4), _overlap(3, 4)
    ((slice(3, 7, None), slice(0, 4, None)), (slice(0, 3, None), slice(0, 3, None)))
    """
    shared = min(length, side)
    begin, to = max(0, round((length - side) / 2)), max(0, (side - length) // 2)
    return slice(begin, begin + shared), slice(to, to + shared)


def _centre(pixels: Pixels) -> Pixels:
    """Drop the ends of a very long photo, which the crop would throw away once enlarged.

    Scaled whole, a photo of 1 x 60,000 px would become one of 224 x 13,440,000 px.
    """
    height, width = pixels.shape[:2]
    longest = MAX_RATIO * min(height, width)
    # The same number of pixels from both ends: the centre stays where it is.
    rows, columns = (max(0, (side - longest) // 2) for side in (height, width))
    return pixels[rows : height - rows, columns : width - columns]


def least_side(preprocesses: Sequence[Preprocess]) -> int | None:
    """How long the sides of a decoded photo have to be; None where one wants it as it is.

    >>> spec = Preprocess(size_px=224, mean=(0, 0, 0), std=(1, 1, 1), scaled_decoding=True)
    >>> least_side([spec])
    448
    """
    if not preprocesses or not all(spec.scaled_decoding for spec in preprocesses):
        return None
    return LEAST_SCALE * max(spec.size_px for spec in preprocesses)


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
    """A photo's size once its longer side is `side_px`; a thread keeps one pixel."""
    longest = max(size)
    return max(1, round(size[0] * side_px / longest)), max(1, round(size[1] * side_px / longest))


RESIZES: Final[Mapping[str, Callable[[Size, int], Size]]] = {
    "shortest": _with_shorter_side,
    "squash": lambda _, side_px: (side_px, side_px),
    "letterbox": _with_longer_side,
}
"""The size that a photo is scaled to: what goes beyond the square is cropped, what is left is white."""
