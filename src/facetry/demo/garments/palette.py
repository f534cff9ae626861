"""Colours: those that values name, others for the value `default`, and inks that are visible on them."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Final

Colour = tuple[int, int, int]

NAMED: Final[Mapping[str, Colour]] = {
    "white": (247, 247, 245),
    "black": (30, 30, 34),
    "red": (216, 30, 42),
    "maroon": (122, 14, 50),
    "navy blue": (26, 40, 122),
    "blue": (40, 108, 220),
    "yellow": (248, 208, 46),
    "green": (44, 152, 74),
    "pink": (246, 118, 176),
    "purple": (132, 60, 176),
    "grey": (140, 143, 148),
    "orange": (246, 130, 30),
    "peach": (255, 190, 150),
    "cream": (240, 214, 146),
}
UNNAMED: Final[Sequence[Colour]] = (
    (18, 126, 128),  # teal
    (164, 84, 50),  # rust
    (126, 122, 44),  # olive
    (186, 168, 226),  # lavender
    (116, 84, 62),  # brown
    (112, 202, 196),  # turquoise
)
RAINBOW: Final[Sequence[Colour]] = (
    (226, 52, 60),
    (250, 196, 40),
    (52, 164, 92),
    (52, 112, 216),
    (146, 72, 184),
    (248, 132, 44),
)
SKIN: Final[Sequence[Colour]] = (
    (236, 194, 164),
    (214, 164, 128),
    (186, 132, 96),
    (150, 102, 72),
    (116, 78, 56),
)
GOLD: Final[Colour] = (222, 172, 52)
PALE_GOLD: Final[Colour] = (250, 220, 120)
SILVER: Final[Colour] = (226, 230, 238)
NIGHT: Final[Colour] = (34, 34, 40)
SNOW: Final[Colour] = (252, 252, 250)


def pick_colour(value: str, rng: Random) -> Colour:
    """Pick the fabric's ground colour for a value of a colour attribute, with a random deviation."""
    base = rng.choice(UNNAMED)
    bands = rng.choice(RAINBOW)
    if value == "multicolor":
        base = bands
    elif value != "default":
        base = NAMED[value]
    shift = [rng.randint(-6, 6) for _ in range(3)]
    return _clip(channel + move for channel, move in zip(base, shift, strict=True))


def pick_bands(value: str, rng: Random) -> tuple[Colour, ...]:
    """Pick the bands of a multicoloured fabric; none for the other values."""
    bands = rng.sample(RAINBOW, 5)
    return tuple(bands) if value == "multicolor" else ()


def tint(colour: Colour, amount: float) -> Colour:
    """Mix with white for a positive amount, with black for a negative one; -1 to 1.

    >>> tint((100, 100, 100), -0.5)
    (50, 50, 50)
    """
    goal = 255 if amount > 0 else 0
    return mix(colour, (goal, goal, goal), abs(amount))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    return _clip(a + (b - a) * share for a, b in zip(first, second, strict=True))


def is_dark(colour: Colour) -> bool:
    """Whether light ink is more visible on it."""
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue < 120


def shade_of(colour: Colour, strength: float = 0.35) -> Colour:
    """A lighter or darker tone that is visible on `colour`."""
    return tint(colour, strength if is_dark(colour) else -strength)


def ink_on(colour: Colour) -> Colour:
    """Near-white on dark colours, near-black on light ones."""
    return SNOW if is_dark(colour) else NIGHT


def _clip(channels: Iterable[float]) -> Colour:
    red, green, blue = (min(255, max(0, round(each))) for each in channels)
    return red, green, blue
