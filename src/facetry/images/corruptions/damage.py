"""Damage to one product's photo: which kind, how strong, and the chance that goes with it.

Shapes: h, w are the photo's height and width in pixels.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facetry.errors import SettingError, nearest
from facetry.images.corruptions.kinds import CORRUPTIONS, NUM_STRENGTHS, USUAL_SIDE_PX
from facetry.images.preprocess import reduce
from facetry.product import Pixels, Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One kind of damage at one strength, from 1 to 5, for photos that a predictor is to see.

    The photo is first reduced to `side_px`, its shorter side, as what a predictor sees is what noise
    and blur are measured by: on photos of several megapixels they would vanish in resizing. Predictors
    that look at photos of less than 224 px get them from 224 px, as from a camera. A photo that is
    smaller keeps its size.

    The same seed, product and kind give the same damage, in the same place at every strength.
    """

    kind: str
    strength: int
    side_px: int = USUAL_SIDE_PX
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.kind in CORRUPTIONS
        assert 1 <= self.strength <= NUM_STRENGTHS

    def __call__(self, photo: Pixels, product: Product) -> Pixels:
        """The product's photo (h, w, 3), reduced and damaged."""
        corruption = CORRUPTIONS[self.kind]
        key = zlib.crc32(f"{self.seed}/{self.kind}/{product.id}".encode())
        level = corruption.levels[self.strength - 1]
        reduced = reduce(photo, max(self.side_px, USUAL_SIDE_PX))
        return corruption.apply(reduced, level, np.random.RandomState(key))


def choose_corruptions(names: Sequence[str] = ()) -> tuple[str, ...]:
    """The kinds of damage that are asked for, each once and in the table's order; all if none is.

    Raises:
        SettingError: an unknown kind.

    >>> choose_corruptions(["noise", "defocus", "noise"])
    ('defocus', 'noise')
    """
    if unknown := [name for name in names if name not in CORRUPTIONS]:
        raise SettingError(
            f"There is no corruption {unknown[0]!r}.", hint=nearest(unknown[0], CORRUPTIONS)
        )
    return tuple(kind for kind in CORRUPTIONS if not names or kind in names)
