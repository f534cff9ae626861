"""Pictures printed on cloth: flowers, peacocks, elephants, words, smileys.

Each motif fills a circle of `radius` units around a point.
"""

import functools
import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from PIL import ImageFont

from facetry.demo.garments.canvas import Canvas, Point, ring, smooth
from facetry.demo.garments.palette import GOLD, NIGHT, SNOW, Colour, ink_on, mix

Motif = Callable[[Canvas, Point, float], None]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

LEAF: Final[Colour] = (50, 140, 70)
PETAL: Final[Colour] = (232, 62, 110)
WORDS: Final = ("LOVE", "YOLO", "KIND", "HERO", "COOL", "BOLD", "CHILL", "DREAM", "RIDE", "GOOD")


def draw_flower(canvas: Canvas, centre: Point, radius: float) -> None:
    """Five petals around a yellow heart, two leaves."""
    x, y = centre
    for side in (-1, 1):
        leaf = [
            (x, y),
            (x + side * radius, y + radius * 0.35),
            (x + side * radius * 0.6, y + radius),
        ]
        canvas.polygon(leaf, LEAF)
    for petal in ring(centre, (radius * 0.5, radius * 0.5), 5, 0.05):
        canvas.disc(petal, radius * 0.4, PETAL)
    canvas.disc(centre, radius * 0.32, (252, 208, 60))


def draw_branch(canvas: Canvas, centre: Point, radius: float) -> None:
    """A stem with pairs of leaves."""
    x, y = centre
    canvas.line([(x, y + radius), (x, y - radius)], LEAF, radius * 0.16)
    for height in (-0.75, -0.1, 0.55):
        for side in (-1, 1):
            base = y + height * radius + radius * 0.35
            tip = (x + side * radius * 0.85, base - radius * 0.55)
            canvas.polygon([(x, base), (x + side * radius * 0.2, base - radius * 0.5), tip], LEAF)


def draw_peacock(canvas: Canvas, centre: Point, radius: float) -> None:
    """A fanned tail with eyes, a blue body."""
    x, y = centre
    foot = (x, y + radius * 0.6)
    fan = [foot, *ring(foot, (radius * 1.05, radius * 1.5), 24, 0.5)[:13]]
    canvas.polygon(fan, (0, 138, 128))
    for eye in ring(foot, (radius * 0.78, radius * 1.15), 12, 0.5)[1:6]:
        canvas.disc(eye, radius * 0.17, GOLD)
        canvas.disc(eye, radius * 0.08, (20, 40, 140))
    canvas.ellipse((x, y + radius * 0.45), (radius * 0.26, radius * 0.5), (28, 66, 190))
    canvas.disc((x, y - radius * 0.08), radius * 0.2, (28, 66, 190))


def draw_elephant(canvas: Canvas, centre: Point, radius: float) -> None:
    """A grey elephant under a red saddle cloth."""
    x, y = centre
    grey = (104, 104, 122)
    canvas.ellipse((x - radius * 0.15, y), (radius * 0.7, radius * 0.52), grey)
    canvas.disc((x + radius * 0.55, y - radius * 0.2), radius * 0.38, grey)
    trunk = [
        (x + radius * 0.8, y - radius * 0.2),
        (x + radius, y + radius * 0.3),
        (x + radius * 0.9, y + radius * 0.8),
    ]
    canvas.line(trunk, grey, radius * 0.2)
    for leg in (-0.7, -0.35, 0.1, 0.35):
        left = x + leg * radius
        canvas.polygon(
            [
                (left, y),
                (left + radius * 0.24, y),
                (left + radius * 0.24, y + radius),
                (left, y + radius),
            ],
            grey,
        )
    canvas.ellipse((x - radius * 0.15, y - radius * 0.2), (radius * 0.4, radius * 0.3), (206, 40, 50))
    canvas.disc((x + radius * 0.42, y - radius * 0.15), radius * 0.2, (150, 150, 166))


def draw_paisley(canvas: Canvas, centre: Point, radius: float) -> None:
    """A maroon mango shape with a golden heart: the ethnic motif."""
    x, y = centre
    bent = [
        (0.75, -1.0),
        (0.1, -0.75),
        (-0.6, -0.1),
        (-0.65, 0.55),
        (0, 1),
        (0.65, 0.6),
        (0.6, 0),
        (0.2, -0.45),
    ]
    drop = smooth([(x + px * radius, y + py * radius) for px, py in bent])
    canvas.polygon(drop, (150, 20, 60))
    canvas.outline(drop, GOLD, radius * 0.14)
    canvas.disc((x, y + radius * 0.4), radius * 0.3, GOLD)


def draw_patch(canvas: Canvas, centre: Point, radius: float) -> None:
    """A sewn-on square with a star and white stitches: applique."""
    x, y = centre
    reach = radius * 0.9
    square = [
        (x - reach, y - reach),
        (x + reach, y - reach),
        (x + reach, y + reach),
        (x - reach, y + reach),
    ]
    canvas.polygon(square, (240, 120, 30))
    canvas.outline(square, SNOW, radius * 0.16)
    star = [
        (
            x + math.sin(math.pi * corner / 5) * reach * size,
            y - math.cos(math.pi * corner / 5) * reach * size,
        )
        for corner, size in enumerate((0.85, 0.36) * 5)
    ]
    canvas.polygon(star, (70, 40, 150))


def draw_rings(canvas: Canvas, centre: Point, radius: float) -> None:
    """Concentric rings: a print for the value `default`."""
    for share, colour in ((1.0, (120, 70, 200)), (0.7, SNOW), (0.42, (120, 70, 200))):
        canvas.disc(centre, radius * share, colour)


def draw_smiley(canvas: Canvas, centre: Point, radius: float) -> None:
    """A round yellow face with its tongue out: quirky."""
    x, y = centre
    canvas.disc(centre, radius, NIGHT)
    canvas.disc(centre, radius * 0.9, (255, 190, 30))
    for side in (-1, 1):
        canvas.ellipse(
            (x + side * radius * 0.35, y - radius * 0.25), (radius * 0.13, radius * 0.25), NIGHT
        )
    mouth = [
        (x - radius * 0.55, y + radius * 0.2),
        (x + radius * 0.55, y + radius * 0.2),
        (x, y + radius * 0.62),
    ]
    canvas.polygon(mouth, NIGHT)
    canvas.disc((x, y + radius * 0.55), radius * 0.22, (230, 60, 80))


def draw_landscape(canvas: Canvas, centre: Point, radius: float) -> None:
    """A framed view of a sun over mountains: graphic."""
    x, y = centre
    frame = [
        (x - radius, y - radius),
        (x + radius, y - radius),
        (x + radius, y + radius),
        (x - radius, y + radius),
    ]
    canvas.polygon(frame, (64, 176, 226))
    canvas.disc((x + radius * 0.35, y - radius * 0.35), radius * 0.36, (255, 120, 70))
    canvas.polygon(
        [
            (x - radius, y + radius),
            (x - radius * 0.3, y - radius * 0.35),
            (x + radius * 0.5, y + radius),
        ],
        (36, 60, 110),
    )
    canvas.polygon(
        [(x - radius * 0.2, y + radius), (x + radius * 0.5, y), (x + radius, y + radius)],
        (60, 100, 150),
    )
    canvas.outline(frame, SNOW, radius * 0.12)
    canvas.outline(
        [
            (px + (1 if px > x else -1) * radius * 0.12, py + (1 if py > y else -1) * radius * 0.12)
            for px, py in frame
        ],
        NIGHT,
        radius * 0.1,
    )


def draw_bouquet(canvas: Canvas, centre: Point, radius: float) -> None:
    """A bunch of three flowers."""
    x, y = centre
    for across, along in ((-0.5, -0.3), (0.5, -0.4), (0.0, 0.45)):
        draw_flower(canvas, (x + across * radius, y + along * radius), radius * 0.55)


def draw_splashes(canvas: Canvas, centre: Point, radius: float) -> None:
    """Neon lightning and blots: a funky print."""
    x, y = centre
    for turn, colour in enumerate(((255, 30, 150), (40, 220, 90), (20, 200, 250))):
        height = y + (turn - 1) * radius * 0.62
        zigzag = [
            (x + (step / 3 - 1) * radius * 1.15, height + (-1) ** step * radius * 0.24)
            for step in range(7)
        ]
        canvas.line(zigzag, NIGHT, radius * 0.4)
        canvas.line(zigzag, colour, radius * 0.26)


def draw_words(canvas: Canvas, centre: Point, radius: float, rng: Random) -> None:
    """Three words below each other in big letters, in an ink that contrasts with the cloth."""
    a, b = canvas.pixels([centre])[0], canvas.image.size
    at = (min(b[0] - 1, max(0, int(a[0]))), min(b[1] - 1, max(0, int(a[1]))))
    ground = canvas.image.getpixel(at)
    assert isinstance(ground, tuple)
    ink = ink_on((int(ground[0]), int(ground[1]), int(ground[2])))
    font = _load_font(round(radius * 0.78 * canvas.pose.scale))
    for row, word in enumerate(rng.sample(WORDS, 3)):
        position = canvas.pixels([(centre[0], centre[1] + (row - 1) * radius * 0.72)])[0]
        canvas.pen.text(
            position,
            word,
            fill=ink,
            font=font,
            anchor="mm",
            stroke_width=max(1, round(radius * 0.05 * canvas.pose.scale)),
            stroke_fill=ink,
        )


@functools.lru_cache(maxsize=64)
def _load_font(size_px: int) -> Font:
    return ImageFont.load_default(size=max(4, size_px))


CHEST_PRINTS: Final[Mapping[str, Motif]] = {
    "graphic": draw_landscape,
    "quirky": draw_smiley,
    "funky print": draw_splashes,
    "floral": draw_bouquet,
}
"""print type -> motif on a top's chest; `typography`, `default` and `solid` have none"""

SAREE_MOTIFS: Final[Mapping[str, Motif]] = {
    "default": draw_rings,
    "ethnic motif": draw_paisley,
    "peacock": draw_peacock,
    "floral": draw_flower,
    "elephant": draw_elephant,
    "applique": draw_patch,
    "botanical": draw_branch,
}
"""print type -> motif on a saree's skirt; `checked` and `solid` have none"""


def draw_bow(canvas: Canvas, centre: Point, radius: float, colour: Colour) -> None:
    """A bow with two long ends."""
    x, y = centre
    edge = mix(colour, NIGHT, 0.4)
    for side in (-1, 1):
        loop = [
            (x, y),
            (x + side * radius, y - radius * 0.55),
            (x + side * radius, y + radius * 0.5),
        ]
        tail = [
            (x, y),
            (x + side * radius * 0.35, y + radius * 1.9),
            (x + side * radius * 0.8, y + radius * 1.7),
        ]
        for part in (tail, loop):
            canvas.polygon(part, colour)
            canvas.outline(part, edge, 0.5)
    canvas.disc(centre, radius * 0.28, edge)
