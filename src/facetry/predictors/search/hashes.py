"""Perceptual hashes of photos: similar photos have most bits in common.

Source: Johannes Buchner's imagehash. pHash compares low frequencies with their median, dHash each
pixel with the next, wHash wavelet coefficients with their median; the colour hash counts hues.

Shapes: B photos, S side in pixels, b bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facetry.models.config import ImageConfig
from facetry.predictors.search.config import HashName
from facetry.product import Pixels, Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE_PX: Final = 128
"""The side to which photos are resized before hashing: four times the input size of the finest hash.
The hashes then differ from those of the original photo in one bit of fifty."""


@dataclass(frozen=True)
class HashEncoder:
    """An encoder of photos: the concatenated bits of several hashes."""

    names: Sequence[HashName]
    preprocess: Preprocess
    dtype = np.uint8

    @classmethod
    def of(cls, names: Sequence[HashName], image: ImageConfig) -> "HashEncoder":
        """An encoder with the hashes and the image preparation of a recipe."""
        wanted = {name: value for name, value in image.model_dump().items() if value is not None}
        plain = {"size_px": SIZE_PX, "resize": "squash", "mean": (0, 0, 0), "std": (1, 1, 1)}
        return cls(names, Preprocess.model_validate(plain | wanted))

    @cached_property
    def feature_size(self) -> int:
        """The number of bytes of all hashes together."""
        return len(self._packed(np.zeros((8, 8, 3), dtype=np.uint8)))

    def encode(self, pixels: Pixels) -> NDArray[np.uint8]:
        """Hashes (B, b) of photos (B, 3, S, S)."""
        return np.stack([self._packed(photo) for photo in pixels.transpose(0, 2, 3, 1)])

    def _packed(self, photo: Pixels) -> NDArray[np.uint8]:
        """The hashes of a photo (S, S, 3), packed to bytes (b)."""
        from PIL import Image

        image = Image.fromarray(photo)
        return np.packbits(np.concatenate([HASHES[name](image).ravel() for name in self.names]))


def _perceptual(image: "Image") -> NDArray[np.bool_]:
    import imagehash

    return np.asarray(imagehash.phash(image).hash)


def _difference(image: "Image") -> NDArray[np.bool_]:
    import imagehash

    return np.asarray(imagehash.dhash(image).hash)


def _wavelet(image: "Image") -> NDArray[np.bool_]:
    import imagehash

    return np.asarray(imagehash.whash(image).hash)


def _colour(image: "Image") -> NDArray[np.bool_]:
    import imagehash

    return np.asarray(imagehash.colorhash(image).hash)


HASHES: Final[Mapping[HashName, Callable[["Image"], NDArray[np.bool_]]]] = {
    "phash": _perceptual,
    "dhash": _difference,
    "whash": _wavelet,
    "colorhash": _colour,
}
