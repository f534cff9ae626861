"""Repeating textures of fabrics: tiles that are drawn once per process, tiled, and cropped.

A texture is a mask: ink is printed where it is set. Sizes are in units of a photo that is 128 units
wide.
"""

import functools
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from facetry.demo.garments.canvas import Canvas
from facetry.demo.garments.palette import Colour

Pen = ImageDraw.ImageDraw
SPREAD: Final = (1.15, 1.75)
"""The size of a tiled texture in photo widths: larger than any garment and any shift."""


def print_texture(canvas: Canvas, name: str, ink: Colour, rng: Random) -> None:
    """Print a texture all over the canvas, with a random offset."""
    whole = _tile(name, canvas.work_px)
    repeat = round(TEXTURES[name][0] * canvas.work_px / 128)
    left, top = int(rng.random() * repeat), int(rng.random() * repeat)
    width, height = canvas.image.size
    canvas.fill_mask(whole.crop((left, top, left + width, top + height)), ink)


@functools.cache
def _tile(name: str, work_px: int) -> Image.Image:
    units, draw = TEXTURES[name]
    side = max(4, round(units * work_px / 128))
    tile = Image.new("L", (side * 4, side * 4), 0)
    draw(ImageDraw.Draw(tile), side * 4 - 1)
    repeat = np.asarray(tile.resize((side, side), Image.Resampling.BOX))
    across = round(SPREAD[0] * work_px) // side + 2
    down = round(SPREAD[1] * work_px) // side + 2
    return Image.fromarray(np.tile(repeat, (down, across)))


def _dots(pen: Pen, side: int) -> None:
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        radius = 0.15
        box = ((x - radius) * side, (y - radius) * side, (x + radius) * side, (y + radius) * side)
        pen.ellipse(box, fill=255)


def _diagonals(pen: Pen, side: int) -> None:
    for shift in (-1, 0, 1):
        start = shift * side
        pen.polygon(
            [(start, 0), (start + side * 0.4, 0), (start + side * 1.4, side), (start + side, side)],
            fill=255,
        )


def _zigzag(pen: Pen, side: int) -> None:
    for y in (0.0, 0.5):
        points = [(0, y + 0.4), (0.25, y + 0.1), (0.5, y + 0.4), (0.75, y + 0.1), (1, y + 0.4)]
        pen.line([(px * side, py * side) for px, py in points], fill=255, width=side // 9)


def _zari(pen: Pen, side: int) -> None:
    for y in (0.06, 0.56):
        pen.rectangle((0, y * side, side, (y + 0.13) * side), fill=255)
    for x, y in ((0.25, 0.375), (0.75, 0.875)):
        pen.polygon(_diamond(x, y, 0.12, side), fill=255)


def _diamonds(pen: Pen, side: int) -> None:
    for x, y in ((0.25, 0.25), (0.75, 0.75)):
        pen.polygon(_diamond(x, y, 0.2, side), fill=255)


def _diamond(x: float, y: float, radius: float, side: int) -> list[tuple[float, float]]:
    points = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
    return [(px * side, py * side) for px, py in points]


def _lattice(pen: Pen, side: int) -> None:
    pen.line([(0, 0), (side, side)], fill=255, width=side // 7)
    pen.line([(side, 0), (0, side)], fill=255, width=side // 7)
    pen.ellipse((side * 0.4, side * -0.1, side * 0.6, side * 0.1), fill=255)
    pen.ellipse((side * 0.4, side * 0.9, side * 0.6, side * 1.1), fill=255)


def _mesh(pen: Pen, side: int) -> None:
    pen.line([(0, 0), (side, side)], fill=255, width=side // 6)
    pen.line([(side, 0), (0, side)], fill=255, width=side // 6)


def _checks(pen: Pen, side: int) -> None:
    pen.rectangle((0, 0, side, side * 0.22), fill=255)
    pen.rectangle((0, 0, side * 0.22, side), fill=255)


def _knit(pen: Pen, side: int) -> None:
    for y in (0.0, 0.5):
        left = [(0.08, y + 0.05), (0.46, y + 0.3), (0.46, y + 0.5), (0.08, y + 0.25)]
        for points in (left, [(1 - px, py) for px, py in left]):
            pen.polygon([(px * side, py * side) for px, py in points], fill=255)


TEXTURES: Final[Mapping[str, tuple[float, Callable[[Pen, int], None]]]] = {
    "dots": (9.0, _dots),
    "diagonals": (11.0, _diagonals),
    "zigzag": (11.0, _zigzag),
    "zari": (8.0, _zari),
    "diamonds": (9.0, _diamonds),
    "lattice": (7.0, _lattice),
    "mesh": (3.0, _mesh),
    "checks": (10.0, _checks),
    "knit": (5.5, _knit),
}
"""name -> size of the repeat in units, function that draws it"""


def fold(canvas: Canvas, rng: Random, *, steep: bool = True) -> None:
    """Darken the cloth along soft folds, which are nearly vertical if `steep`."""
    whole = _draw_folds(canvas.work_px, steep)
    width, height = canvas.image.size
    left = int(rng.random() * (whole.width - width)) if whole.width > width else 0
    top = int(rng.random() * (whole.height - height)) if whole.height > height else 0
    shade = whole.crop((left, top, left + width, top + height))
    canvas.darken(shade)


@functools.cache
def _draw_folds(work_px: int, steep: bool) -> Image.Image:
    """Smooth noise, stretched along the folds: light grey to white."""
    shape = (7, 26) if steep else (10, 14)
    rng = np.random.default_rng(11)
    noise = rng.normal(size=shape)
    shade = np.clip(232 + 17 * noise, 190, 255).astype(np.uint8)
    size = (round(work_px * 1.7), round(work_px * 2.2))
    return Image.fromarray(shade).resize(size, Image.Resampling.BICUBIC).convert("RGB")
