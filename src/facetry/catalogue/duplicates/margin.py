"""Find the wide even page around what a photo shows.

Shops photograph on white pages. Photos of different products share the page, which may be most of the
photo; what is compared and judged is what the page holds. A wall behind a model, or a narrow margin, is
part of the photo: without them, other poses and crops of one article looked too different.

Shapes: h, w height and width of a photo in pixels, n pixels of an edge.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.product import Pixels

MAX_SHARE: Final = 0.54
"""The largest share of both sides that is taken by something on a wide page. On pages that show
different garments at half their height, whole photos made one group of 72 of 240; a shop's pairs of
articles at 0.55 and more are found as whole photos. Between the two, with room for a crop of 4 %."""

TOLERANCE: Final = 16
"""Levels by which a page's pixels may differ from its colour. With 10, the rings of strong compression
were taken for content, and a tenth of the copies of drawn photos on pages was missed; with 16, one in a
hundred; with 24, the walls behind drawn models were taken for pages."""

MAX_STRAY: Final = 0.01
"""The share of a line that may differ by more: specks of dust, and rings around what is shown."""

MIN_CONTENT: Final = 0.05
"""The least share of both sides that something has to fill; a smaller thing is a speck."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, the last two exclusive."""

Colour = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Page:
    """An even page, the box of what it shows, and the larger share of a side that this takes."""

    colour: Colour
    box: Box
    share: float


def find_page(photo: Pixels) -> Page | None:
    """The wide page of a photo (h, w, 3), or None.

    >>> photo = np.full((60, 40, 3), 255, np.uint8)
    >>> photo[20:50, 10:30] = (200, 40, 40)
    >>> find_page(photo).box
    (10, 20, 30, 50)
    """
    colour = _frame_colour(photo)
    if colour is None or _fills_the_middle(photo, colour):  # most photos: nothing more to do
        return None
    left, top, right, bottom = box = content_box(photo, colour)
    height, width = photo.shape[:2]
    shares = (right - left) / width, (bottom - top) / height
    is_wide = MIN_CONTENT <= min(shares) <= max(shares) <= MAX_SHARE
    return Page(colour=colour, box=box, share=max(shares)) if is_wide else None


def content_box(photo: Pixels, colour: Colour) -> Box:
    """The box of what differs from a page's colour in a photo (h, w, 3); all of it if nothing does."""
    height, width = photo.shape[:2]
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
    return left, top, right, bottom


def _frame_colour(photo: Pixels) -> Colour | None:
    """The one colour of all four edges; None if they are not even."""
    colour: Colour = photo[-1].mean(axis=0)
    # The lower edge first: what stands on it, as in most photos, is found with one line.
    edges = photo[-1], photo[:, 0], photo[:, -1], photo[0]  # (n, 3)
    is_even = all(
        np.count_nonzero(np.abs(edge - colour) > TOLERANCE) <= MAX_STRAY * edge.size for edge in edges
    )
    return colour if is_even else None


def _fills_the_middle(photo: Pixels, colour: Colour) -> bool:
    """Whether the middle row or column alone shows too much for a wide page: two lines, not all."""
    height, width = photo.shape[:2]
    lines = photo[height // 2], photo[:, width // 2]
    counts = [np.count_nonzero((np.abs(line - colour) > TOLERANCE).any(axis=1)) for line in lines]
    return bool(counts[0] > MAX_SHARE * width or counts[1] > MAX_SHARE * height)


def _ends(is_content: NDArray[np.bool_]) -> tuple[int, int]:
    """The first index that is true, and the one after the last; both ends if none is."""
    indices = np.flatnonzero(is_content)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, len(is_content))
