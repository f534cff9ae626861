"""Find the even margin around what a photo shows.

Shops photograph on white pages. Photos of different products share the page, which may be most of the
photo; what is compared and judged is what the page holds.

Shapes: h, w height and width of a photo in pixels, n pixels of an edge.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.product import Pixels

TOLERANCE: Final = 16
"""Levels by which a margin's pixels may differ from its colour. With 10, the rings of strong compression
were taken for content, and a tenth of the copies of drawn photos on pages was missed; with 16, one in a
hundred; with 24, the walls behind drawn models were taken for margins."""

MAX_STRAY: Final = 0.01
"""The share of a line that may differ by more: specks of dust, and rings around what is shown."""

MIN_CONTENT: Final = 0.05
"""The least share of both sides that something has to fill; a smaller thing is a speck."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, the last two exclusive."""


def content_box(photo: Pixels) -> Box:
    """The box of a photo (h, w, 3) without its margin; the whole photo if it has none, or nothing else.

    >>> photo = np.full((60, 40, 3), 255, np.uint8)
    >>> photo[20:50, 10:30] = (200, 40, 40)
    >>> content_box(photo)
    (10, 20, 30, 50)
    """
    height, width = photo.shape[:2]
    colour = _margin_colour(photo)
    if colour is None:  # most photos: nothing more to do
        return 0, 0, width, height
    low = np.maximum(colour - TOLERANCE, 0).astype(np.uint8)
    span = np.minimum(colour + TOLERANCE, 255).astype(np.uint8) - low
    # Whole lines at once, as numpy is slow along an axis of three. Levels below the lowest wrap around,
    # so that one comparison does for both ends.
    lines = photo.reshape(height, 3 * width) - np.tile(low, width)
    is_other = (lines > np.tile(span, width)).view(np.uint8)
    in_rows = np.add.reduce(is_other, axis=1, dtype=np.uint32)  # h
    in_columns = np.add.reduce(is_other, axis=0, dtype=np.uint32).reshape(width, 3).sum(axis=1)  # w
    top, bottom = _ends(in_rows > MAX_STRAY * 3 * width)
    left, right = _ends(in_columns > MAX_STRAY * 3 * height)
    is_speck = right - left < MIN_CONTENT * width or bottom - top < MIN_CONTENT * height
    return (0, 0, width, height) if is_speck else (left, top, right, bottom)


def _margin_colour(photo: Pixels) -> NDArray[np.float64] | None:
    """The colour of the first even edge: top, bottom, left, right; None if none is even."""
    for edge in (photo[0], photo[-1], photo[:, 0], photo[:, -1]):  # (n, 3)
        colour: NDArray[np.float64] = edge.mean(axis=0)
        if np.count_nonzero(np.abs(edge - colour) > TOLERANCE) <= MAX_STRAY * edge.size:
            return colour
    return None


def _ends(is_content: NDArray[np.bool_]) -> tuple[int, int]:
    """The first index that is true, and the one after the last; zeros if none is."""
    indices = np.flatnonzero(is_content)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, 0)
