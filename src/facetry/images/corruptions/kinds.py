"""The kinds of damage to a photo, each at five strengths.

The levels of noise, defocus and JPEG are those of Hendrycks and Dietterich 2019 (ImageNet-C), whose
photos are 224 px wide: lengths here are scaled with the photo's shorter side. The others are our own.

Shapes: h, w are the photo's height and width in pixels, m, n a kernel's.
"""

import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from facetry.errors import SettingError, nearest
from facetry.images.preprocess import reduce
from facetry.product import Pixels, Product

Random = np.random.RandomState
Floats = NDArray[np.float32]

WHITE: Final = 255
NUM_STRENGTHS: Final = 5
USUAL_SIDE_PX: Final = 224
"""The shorter side of the photos that lengths are given for."""

_PHOTONS = 400  # that make a pixel white in good light
_TEXT = "SAMPLE · NOT FOR SALE"
_LETTERS_PX = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """One kind of damage: `apply` damages a photo (h, w, 3) at one of `levels`.

    `unit` is the unit of the levels, mildest first. `apply` draws the same random numbers at every
    level, so that stronger damage is more of the same.
    """

    title: str
    unit: str
    levels: tuple[float, ...]
    apply: Callable[[Pixels, float, Random], Pixels]


def _poor_light(photo: Pixels, light: float, random: Random) -> Pixels:
    """Fewer photons: darker, and grainy, since their number varies by its square root (Poisson)."""
    num_photons = _PHOTONS * light * photo.astype(np.float32) / WHITE
    grain = np.sqrt(num_photons) * _normal(random, photo)
    return _as_photo(WHITE / _PHOTONS * (num_photons + grain))


def _noise(photo: Pixels, deviation: float, random: Random) -> Pixels:
    return _as_photo(photo + WHITE * deviation * _normal(random, photo))


def _defocus(photo: Pixels, radius: float, _: Random) -> Pixels:
    """Each point becomes a disc."""
    radius_px = radius * min(photo.shape[:2]) / USUAL_SIDE_PX
    reach = math.ceil(radius_px)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # One pixel wide, the edge fades: small radii differ in more than steps of a pixel.
    disc = np.clip(radius_px + 0.5 - np.hypot(rows, columns), 0, 1)
    return _filtered(photo, disc)


def _motion(photo: Pixels, length: float, random: Random) -> Pixels:
    """Each point becomes a line, at most 45 degrees from the horizontal."""
    length_px = length * min(photo.shape[:2]) / USUAL_SIDE_PX
    angle = math.radians(random.uniform(-45, 45))
    reach = math.ceil(length_px / 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = columns * math.cos(angle) + rows * math.sin(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    line = np.clip(length_px / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return _filtered(photo, line)


def _occlusion(photo: Pixels, share: float, random: Random) -> Pixels:
    """A patch of one colour in front of the product, which grows from a point near the centre."""
    height, width = photo.shape[:2]
    x, y, stretch = random.uniform(0.25, 0.75), random.uniform(0.25, 0.75), random.uniform(-0.4, 0.4)
    colour = random.randint(0, WHITE + 1, 3)
    tall = min(1.0, math.sqrt(share) * math.exp(stretch))
    wide = min(1.0, share / tall)
    # At the photo's edge it is moved inside, so that its area is unchanged.
    top, left = (min(max(at - size / 2, 0), 1 - size) for at, size in ((y, tall), (x, wide)))
    rows = slice(round(top * height), round((top + tall) * height))
    columns = slice(round(left * width), round((left + wide) * width))
    covered = photo.copy()
    covered[rows, columns] = colour
    return covered


def _clutter(photo: Pixels, num_things: float, random: Random) -> Pixels:
    """Boxes, balls and striped boxes around the product, away from the photo's centre."""
    image = Image.fromarray(photo)
    pen = ImageDraw.Draw(image)
    side = min(photo.shape[:2])
    half = (image.width / 2, image.height / 2)
    for _ in range(round(num_things)):
        turn, distance = random.uniform(0, 2 * math.pi), random.uniform(0.75, 1.15)
        across, along = side * random.uniform(0.05, 0.13, 2)
        kind, colours = random.randint(3), random.randint(0, WHITE + 1, (2, 3)).tolist()
        # Along a square rather than a circle: the corners of photos are emptiest.
        scale = distance / max(abs(math.cos(turn)), abs(math.sin(turn)))
        x, y = half[0] * (1 + scale * math.cos(turn)), half[1] * (1 + scale * math.sin(turn))
        box = (x - across, y - along, x + across, y + along)
        _draw_thing(pen, kind, box, (tuple(colours[0]), tuple(colours[1])))
    return np.array(image)


def _draw_thing(
    pen: ImageDraw.ImageDraw,
    kind: int,
    box: tuple[float, float, float, float],
    colours: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    (pen.ellipse if kind == 0 else pen.rectangle)(box, fill=colours[0])
    if kind == 2:
        left, top, right, bottom = box
        for step in range(1, 6, 2):
            start = top + step * (bottom - top) / 6
            pen.rectangle((left, start, right, start + (bottom - top) / 6), fill=colours[1])


def _watermark(photo: Pixels, opacity: float, random: Random) -> Pixels:
    """Rows of slanted text over the whole photo, white with a dark outline."""
    import cv2

    height, width = photo.shape[:2]
    tile = _text_tile()
    letters_px = min(height, width) * random.uniform(0.06, 0.09)
    turn, scale = math.radians(random.uniform(15, 40)), _LETTERS_PX / letters_px
    start_x, start_y = random.uniform(0, 1, 2) * tile.shape[1::-1]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) * np.float32(scale)
    x = start_x + columns * math.cos(turn) - rows * math.sin(turn)
    y = start_y + columns * math.sin(turn) + rows * math.cos(turn)
    coordinates = (x.astype(np.float32), y.astype(np.float32))
    text = cv2.remap(tile, *coordinates, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)  # h w 2
    share = np.float32(opacity / WHITE) * text[:, :, 1:]
    return _as_photo((1 - share) * photo + share * text[:, :, :1])


@cache
def _text_tile() -> Pixels:
    """Two rows of text that repeat seamlessly as a tile: grey and coverage (m, n, 2)."""
    font = ImageFont.load_default(size=_LETTERS_PX)
    length, line = math.ceil(1.2 * font.getlength(_TEXT)), 2 * _LETTERS_PX
    tile = Image.new("LA", (length, 2 * line))
    pen = ImageDraw.Draw(tile)
    for start, top in ((0, 0), (-length // 2, line), (length - length // 2, line)):
        at = (start, top + line // 4)
        pen.text(at, _TEXT, (WHITE, WHITE), font, stroke_width=2, stroke_fill=(60, WHITE))
    return np.array(tile)


def _jpeg(photo: Pixels, quality: float, _: Random) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=round(quality))
    with Image.open(file) as image:
        return np.array(image)


def _normal(random: Random, photo: Pixels) -> Floats:
    return random.standard_normal(photo.shape).astype(np.float32)


def _filtered(photo: Pixels, kernel: NDArray[np.float64]) -> Pixels:
    """The photo (h, w, 3) blurred by a kernel (m, n), mirrored beyond its edges."""
    import cv2

    scaled = (kernel / kernel.sum()).astype(np.float32)
    blurred = cv2.filter2D(photo, -1, scaled, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred, dtype=np.uint8)


def _as_photo(pixels: NDArray[np.floating]) -> Pixels:
    photo: Pixels = np.rint(pixels).clip(0, WHITE).astype(np.uint8)
    return photo


CORRUPTIONS: Final[Mapping[str, Corruption]] = {
    "poor_light": Corruption(
        title="Poor light",
        unit="share of the light that is left",
        levels=(0.6, 0.42, 0.28, 0.18, 0.1),
        apply=_poor_light,
    ),
    "defocus": Corruption(
        title="Out of focus",
        unit="radius of a point in px, where the photo has 224",
        levels=(3, 4, 6, 8, 10),
        apply=_defocus,
    ),
    "motion": Corruption(
        title="Motion blur",
        unit="length of a point in px, where the photo has 224",
        levels=(8, 12, 17, 23, 30),
        apply=_motion,
    ),
    "noise": Corruption(
        title="Noise",
        unit="standard deviation, as a share of white",
        levels=(0.08, 0.12, 0.18, 0.26, 0.38),
        apply=_noise,
    ),
    "occlusion": Corruption(
        title="Occlusion",
        unit="share of the photo that is covered",
        levels=(0.04, 0.08, 0.14, 0.22, 0.32),
        apply=_occlusion,
    ),
    "clutter": Corruption(
        title="Clutter",
        unit="things in the photo",
        levels=(6, 12, 20, 30, 44),
        apply=_clutter,
    ),
    "watermark": Corruption(
        title="Watermark",
        unit="opacity",
        levels=(0.2, 0.35, 0.5, 0.7, 0.9),
        apply=_watermark,
    ),
    "jpeg": Corruption(
        title="JPEG damage",
        unit="quality, of 100",
        levels=(25, 18, 15, 10, 7),
        apply=_jpeg,
    ),
}
"""All kinds of damage by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One kind of damage at one strength, from 1 to 5, applied before a predictor's preprocessing.

    The photo is first reduced to a shorter side of `side_px`, the predictor's input size: on photos of
    several megapixels, noise and blur would vanish in resizing. For predictors of smaller inputs it is
    reduced to 224 px. A smaller photo is not resized.

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
    """The named kinds of damage, each once and in the table's order; all if none is named.

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
