"""Resizing with antialiasing as Pillow does it: the smaller the result, the wider the kernel.

The work is cykooz-resizer's (the Rust crate fast_image_resize), which computes what Pillow computes
with vector instructions and without Python's lock. Where it has no wheel Pillow itself is asked:
rounding apart, a fifth of a grey level on average, both give the same.

Shapes: h, w are a photo's height and width in pixels, m, n those of the resized one.
"""

import threading
from collections.abc import Callable
from functools import cache
from typing import Final, Literal

import numpy as np
from PIL import Image

from facetry.product import Pixels

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
    return _find()(pixels, size, interpolation)


@cache
def _find() -> Resize:
    """How this machine resizes."""
    try:
        import cykooz_resizer as fast
    except ImportError:
        return resize_by_pillow
    filters = {"bicubic": fast.FilterType.catmull_rom, "bilinear": fast.FilterType.bilinear}
    options = {
        name: fast.ResizeOptions(resize_alg=fast.ResizeAlg.convolution(kernel))
        for name, kernel in filters.items()
    }
    of_thread = threading.local()  # a resizer keeps its buffers, and serves one thread at a time

    def resize_fast(pixels: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
        if not hasattr(of_thread, "resizer"):
            of_thread.resizer = fast.Resizer()
        height, width = pixels.shape[:2]
        photo = fast.ImageData(width, height, fast.PixelType.U8x3, pixels.tobytes())
        resized = fast.ImageData(size[1], size[0], fast.PixelType.U8x3)
        # Its `crop_box` would spare what is cropped afterwards, but reads beyond small photos (4.0.1).
        of_thread.resizer.resize(photo, resized, options[interpolation])
        return np.frombuffer(resized.get_buffer(), np.uint8).reshape(*size, 3)

    return resize_fast


def resize_by_pillow(pixels: Pixels, size: Size, interpolation: Interpolation) -> Pixels:
    """As `resize`, by Pillow: many times slower."""
    resized = Image.fromarray(pixels).resize((size[1], size[0]), _PILLOW_FILTERS[interpolation])
    return np.asarray(resized)
