"""Everything around the garment: the frame and pose, the backdrop, clutter, light and grain."""

import functools
import math
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import numpy as np
from PIL import Image, ImageChops

from facetry.demo.garments.canvas import Box, Canvas, Pose, ring
from facetry.demo.garments.palette import GOLD, SNOW, Colour, mix, tint

WALLS: Final[tuple[Colour, ...]] = (
    (206, 214, 220),
    (222, 210, 198),
    (196, 212, 204),
    (216, 200, 208),
    (188, 200, 216),
    (210, 206, 178),
)
BULBS: Final[tuple[Colour, ...]] = (
    (255, 210, 120),
    (255, 110, 190),
    (110, 200, 255),
    (190, 130, 255),
)
MARIGOLD: Final[tuple[Colour, ...]] = ((255, 160, 20), (255, 204, 40))


def pick_height(size_px: int, rng: Random) -> int:
    """Pick a photo's height: mostly 1 to 1.35 of its width, sometimes 0.6 to 1.6."""
    wide = rng.random() < 0.1
    ratio = rng.uniform(0.6, 1.6) if wide else rng.uniform(1.0, 1.35)
    return round(size_px * ratio)


def pick_pose(size: tuple[int, int], frame: Box, rng: Random) -> Pose:
    """Fit the frame (left, top, right, bottom in units) into the picture, with random deviations."""
    left, top, right, bottom = frame
    scale = min(size[0] / (right - left), size[1] / (bottom - top)) * rng.uniform(0.93, 1.03)
    turn = math.radians(rng.uniform(-4, 4))
    stretch = rng.uniform(0.96, 1.04)
    across, along = scale * stretch * math.cos(turn), scale * math.cos(turn)
    shear = scale * math.sin(turn)
    middle = ((left + right) / 2, (top + bottom) / 2)
    x = size[0] * (0.5 + rng.uniform(-0.03, 0.03)) - across * middle[0] + shear * middle[1]
    y = size[1] * (0.5 + rng.uniform(-0.015, 0.015)) - shear * middle[0] - along * middle[1]
    return Pose(across, -shear, x, shear, along, y)


def draw_backdrop(size: tuple[int, int], mood: str, rng: Random) -> Image.Image:
    """Draw the picture behind the figure; `mood` is an occasion."""
    flat = Pose(size[0] / 100, 0, 0, 0, size[0] / 100, 0)
    top, bottom = MOOD_COLOURS[mood] if mood in MOOD_COLOURS else _wall(rng)
    image = _gradient(size, top, bottom)
    MOODS[mood](Canvas(image, flat, size[0]), rng)
    return image


def _wall(rng: Random) -> tuple[Colour, Colour]:
    colour = rng.choice(WALLS)
    return tint(colour, 0.25), tint(colour, -0.1)


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A gradient from one colour to the other, from the top down."""
    steps = np.linspace(np.asarray(top), np.asarray(bottom), 48).round().astype(np.uint8)
    return Image.fromarray(steps[:, None, :]).resize(size, Image.Resampling.NEAREST)


def _height(canvas: Canvas) -> float:
    """The picture's height in units in which its width is 100."""
    return 100 * canvas.image.height / canvas.image.width


def _draw_room(canvas: Canvas, rng: Random) -> None:
    height = _height(canvas)
    floor, shade = height * rng.uniform(0.8, 0.9), rng.choice(WALLS)
    canvas.polygon([(0, floor), (100, floor), (100, height), (0, height)], tint(shade, -0.3))
    canvas.line([(0, floor), (100, floor)], SNOW, 1.6)
    left = rng.choice((4, 74))
    kind = rng.randrange(5)
    if kind == 0:
        _draw_window(canvas, left)
    elif kind == 1:
        _draw_plant(canvas, left + 9, floor + 6)
    elif kind == 2:
        _draw_picture(canvas, left, rng)


def _draw_window(canvas: Canvas, left: float) -> None:
    canvas.polygon([(left, 8), (left + 22, 8), (left + 22, 46), (left, 46)], SNOW)
    for column, row in ((1.5, 9.5), (11.7, 9.5), (1.5, 28), (11.7, 28)):
        x, y = left + column, row
        canvas.polygon([(x, y), (x + 8.8, y), (x + 8.8, y + 16.5), (x, y + 16.5)], (176, 214, 240))


def _draw_plant(canvas: Canvas, x: float, floor: float) -> None:
    for lean in (-10, -5, 0, 5, 10):
        leaf = [
            (x, floor - 10),
            (x + lean - 2.5, floor - 26),
            (x + lean * 1.4, floor - 38 + abs(lean)),
            (x + lean + 2.5, floor - 26),
        ]
        canvas.polygon(leaf, (84 + lean * 2, 134, 92))
    canvas.polygon(
        [(x - 6, floor - 12), (x + 6, floor - 12), (x + 4.5, floor), (x - 4.5, floor)],
        (196, 140, 110),
    )


def _draw_picture(canvas: Canvas, left: float, rng: Random) -> None:
    frame = [(left, 14), (left + 20, 14), (left + 20, 38), (left, 38)]
    canvas.polygon(frame, tint(rng.choice(WALLS), 0.5))
    canvas.outline(frame, (120, 100, 84), 1.4)
    canvas.ellipse((left + 10, 26), (5, 7), rng.choice(WALLS))


def _draw_party(canvas: Canvas, rng: Random) -> None:
    height = _height(canvas)
    for _ in range(13):
        centre = (rng.uniform(0, 100), rng.uniform(0, height * 0.95))
        canvas.disc(
            centre, rng.uniform(2.5, 7), mix(rng.choice(BULBS), (60, 30, 96), rng.uniform(0.15, 0.6))
        )
    sag = rng.uniform(8, 14)
    string = [(x, 4 + sag * math.sin(math.pi * x / 50) ** 2) for x in range(0, 101, 10)]
    canvas.line(string, (20, 10, 30), 0.6)
    for index, bulb in enumerate(string):
        canvas.disc((bulb[0], bulb[1] + 1.5), 1.9, BULBS[index % 4])


def _draw_temple(canvas: Canvas, rng: Random) -> None:
    height = _height(canvas)
    for inset, colour in ((4, (150, 74, 40)), (9, (248, 226, 180))):
        top = [
            (50 + (50 - inset) * math.cos(turn), 48 - (44 - inset) * math.sin(turn))
            for turn in np.linspace(0, math.pi, 13)
        ]
        canvas.polygon([(100 - inset, height), *top, (inset, height)], colour)
    canvas.polygon([(0, height * 0.93), (100, height * 0.93), (100, height), (0, height)], (130, 64, 36))
    lean = rng.uniform(-1, 1)
    for x in (8, 17, 83, 92):
        foot = height * 0.93
        canvas.ellipse((x + lean, foot), (4.2, 2.4), (90, 40, 24))
        canvas.ellipse((x + lean, foot - 4), (1.6, 3.4), (255, 200, 60))


def _draw_wedding(canvas: Canvas, rng: Random) -> None:
    height = _height(canvas)
    for x in range(-2, 104, 12):
        canvas.polygon([(x, 0), (x + 5, 0), (x + 6, height), (x - 1, height)], (156, 16, 40))
    shift = rng.uniform(-2, 2)
    for column, x in enumerate((3, 13, 87, 97)):
        length = height * (0.5 if column in {1, 2} else 0.75)
        for row in range(int(length / 5.5)):
            canvas.disc((x + shift, row * 5.5 + 2), 3.4, MARIGOLD[(row + column) % 2])
    for step in range(9):
        sag = 3 + 6 * math.sin(math.pi * (step + 0.5) / 9)
        canvas.disc((22 + 7 * step + shift, sag), 3.6, MARIGOLD[step % 2])


MOOD_COLOURS: Final[Mapping[str, tuple[Colour, Colour]]] = {
    "party": ((44, 22, 82), (104, 44, 112)),
    "traditional": ((206, 120, 64), (226, 152, 88)),
    "wedding": ((190, 28, 52), (126, 10, 34)),
}
MOODS: Final[Mapping[str, Callable[[Canvas, Random], None]]] = {
    "daily": _draw_room,
    "casual": _draw_room,
    "party": _draw_party,
    "traditional": _draw_temple,
    "wedding": _draw_wedding,
}
"""occasion -> backdrop"""


def sprinkle_sparkles(canvas: Canvas, frame: Box, rng: Random) -> None:
    """Draw four-pointed sparkles over the figure, for a party."""
    left, top, right, bottom = frame
    for _ in range(9):
        x, y = rng.uniform(left, right), rng.uniform(top, bottom)
        size = rng.uniform(2, 4)
        points = [
            (x, y - size),
            (x + size * 0.2, y - size * 0.2),
            (x + size, y),
            (x + size * 0.2, y + size * 0.2),
        ]
        points += [(2 * x - px, 2 * y - py) for px, py in points]
        canvas.polygon(points, (255, 246, 200))


def add_clutter(canvas: Canvas, rng: Random) -> None:
    """Draw a seller's sticker in an upper corner, or a frame, on some photos."""
    kind, right, hue = rng.randrange(6), rng.random() < 0.5, rng.choice(BULBS)
    flat = Canvas(
        canvas.image, Pose(canvas.work_px / 100, 0, 0, 0, canvas.work_px / 100, 0), canvas.work_px
    )
    x = 91 if right else 9
    if kind == 0:
        flat.polygon(ring((x, 9), (6.5, 6.5), 16), tint(hue, -0.2))
        flat.disc((x, 9), 5, SNOW)
    elif kind == 1:
        flat.polygon([(x - 7, 4), (x + 7, 4), (x + 7, 9), (x - 7, 9)], tint(hue, -0.3))
        flat.line([(x - 5, 6.5), (x + 5, 6.5)], SNOW, 1)
    elif kind == 2:
        flat.line(
            [
                (0.5, 0.5),
                (99.5, 0.5),
                (99.5, _height(flat) - 0.5),
                (0.5, _height(flat) - 0.5),
                (0.5, 0.5),
            ],
            GOLD,
            1.2,
        )


def black_out_corner(image: Image.Image, rng: Random) -> None:
    """Paint the small black box that the challenge's photos have in the lower left corner, in place."""
    width, height = rng.uniform(0.1, 0.17), rng.uniform(0.04, 0.065)
    across, along = round(image.width * width), round(image.width * height)
    image.paste((0, 0, 0), (0, image.height - along, across, image.height))


def light(image: Image.Image, rng: Random) -> Image.Image:
    """Vary brightness and warmth, and add a falloff to one side and grain."""
    gain, warmth, side = rng.uniform(0.88, 1.06), rng.uniform(-0.035, 0.035), rng.randrange(4)
    grain, left, top = rng.randrange(2), rng.randrange(32), rng.randrange(32)
    gains = (gain * (1 + warmth), gain, gain * (1 - warmth))
    levels = np.outer(gains, np.arange(256)).round().clip(0, 255).astype(int)
    table = levels.ravel().tolist()
    lit = ImageChops.multiply(image.point(table), _falloff(image.width, side).crop((0, 0, *image.size)))
    if not grain:
        return lit
    noise = _draw_grain(image.width).crop((left, top, left + image.width, top + image.height))
    return ImageChops.subtract(ImageChops.add(lit, noise), Image.new("RGB", image.size, (8, 8, 8)))


@functools.cache
def _falloff(width: int, side: int) -> Image.Image:
    ends = {0: (255, 255), 1: (255, 214), 2: (214, 255), 3: (238, 255)}[side]
    row = np.linspace(*ends, width).round().astype(np.uint8)
    rows = np.repeat(row[None, :], math.ceil(width * 1.7), axis=0)
    return Image.fromarray(rows).convert("RGB")


@functools.cache
def _draw_grain(width: int) -> Image.Image:
    rng = np.random.default_rng(7)
    noise = rng.normal(8, 2, size=(math.ceil(width * 1.7) + 64, width + 64, 1))
    levels = np.clip(noise, 0, 16).round().astype(np.uint8)
    return Image.fromarray(np.repeat(levels, 3, axis=2))
