"""What tells one photo from another in a few bytes: hashes and a small picture of it.

Shapes: h, w are a photo's height and width in pixels; S is `SIGNATURE_PX`.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facetry.product import Pixels

SIGNATURE_PX: Final = 32
"""Side of a signature. On drawn garments, 48 px told copies from others no better."""

SMALL_PX: Final = 128
"""A small copy's shorter side is at least this, and less than twice it."""


def content_hash(data: bytes) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def shrink(pixels: Pixels) -> Image.Image:
    """A small copy (see `SMALL_PX`) of a photo (h, w, 3), by averaging; a small photo as it is."""
    image = Image.fromarray(pixels)
    factor = max(1, min(image.size) // SMALL_PX)
    return image.reduce(factor) if factor > 1 else image


def perceptual_hash(image: Image.Image) -> int:
    """The 64 bits of imagehash's pHash: a re-saved photo differs in few of them."""
    import imagehash

    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes())


def signature(image: Image.Image) -> NDArray[np.uint8]:
    """The photo squeezed into a square (S, S, 3)."""
    # A triangle as wide as the step: fine stripes average out, where sharper filters alias.
    size = (SIGNATURE_PX, SIGNATURE_PX)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.uint8)
