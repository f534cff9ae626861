"""The canvas that photos are drawn on, shapes for it, and the person who wears the garments.

Coordinates are in units of the figure: the x axis points right from its middle, y down from its
shoulders. Everything is drawn at twice the photo's size and halved at the end, which smooths the edges.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Self, final

from PIL import Image, ImageChops, ImageDraw

from facetry.demo.garments.palette import NAMED, SKIN, Colour, tint

Point = tuple[float, float]
Shape = Sequence[Point]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Pose:
    """The affine map from a figure's units to pixels: x' = a x + b y + c, y' = d x + e y + f."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    @property
    def scale(self) -> float:
        """Pixels per unit."""
        return math.sqrt(abs(self.a * self.e - self.b * self.d))

    def shifted(self, right: float, down: float) -> "Pose":
        """The same pose on a picture with another origin."""
        return Pose(self.a, self.b, self.c + right, self.d, self.e, self.f + down)


@final
class Canvas:
    """A picture, the pose of the figure in it, and the pen. `work_px` is the whole photo's width."""

    __slots__ = ("image", "origin", "pen", "pose", "work_px")

    def __init__(self, image: Image.Image, pose: Pose, work_px: int) -> None:
        self.image = image
        self.pose = pose
        self.work_px = work_px
        self.origin = (0, 0)
        self.pen = ImageDraw.Draw(image)

    def pixels(self, shape: Iterable[Point]) -> list[Point]:
        """The shape's points in pixels."""
        a, b, c = self.pose.a, self.pose.b, self.pose.c
        d, e, f = self.pose.d, self.pose.e, self.pose.f
        return [(a * x + b * y + c, d * x + e * y + f) for x, y in shape]

    def polygon(self, shape: Shape, fill: Colour) -> None:
        """A filled polygon."""
        self.pen.polygon(self.pixels(shape), fill=fill)

    def line(self, shape: Shape, fill: Colour, width: float) -> None:
        """An open line; `width` in units."""
        thick = max(1, round(width * self.pose.scale))
        self.pen.line(self.pixels(shape), fill=fill, width=thick, joint="curve")

    def outline(self, shape: Shape, fill: Colour, width: float) -> None:
        """A closed line."""
        self.line([*shape, shape[0]], fill, width)

    def ellipse(self, centre: Point, radii: Point, fill: Colour) -> None:
        """An upright ellipse."""
        (x, y), scale = self.pixels([centre])[0], self.pose.scale
        across, along = radii[0] * scale, radii[1] * scale
        self.pen.ellipse((x - across, y - along, x + across, y + along), fill=fill)

    def disc(self, centre: Point, radius: float, fill: Colour) -> None:
        """A filled circle."""
        self.ellipse(centre, (radius, radius), fill)

    def fill_mask(self, mask: Image.Image, fill: Colour) -> None:
        """Fill where the mask, as large as the picture, is set."""
        self.image.paste(fill, (0, 0), mask)

    def darken(self, shade: Image.Image) -> None:
        """Multiply by a picture of the same size; white changes nothing."""
        self.image = ImageChops.multiply(self.image, shade)
        self.pen = ImageDraw.Draw(self.image)

    def cloth(self, shapes: Sequence[Shape], fill: Colour) -> Self:
        """A canvas of one colour that covers the shapes, to be drawn on and then passed to `wear`."""
        corners = [point for shape in shapes for point in self.pixels(shape)]
        left = max(0, math.floor(min(x for x, _ in corners)))
        top = max(0, math.floor(min(y for _, y in corners)))
        right = min(self.image.width, math.ceil(max(x for x, _ in corners)) + 1)
        bottom = min(self.image.height, math.ceil(max(y for _, y in corners)) + 1)
        size = (max(1, right - left), max(1, bottom - top))
        layer = type(self)(Image.new("RGB", size, fill), self.pose.shifted(-left, -top), self.work_px)
        layer.origin = (left, top)
        return layer

    def wear(self, cloth: "Canvas", shapes: Sequence[Shape], opacity: float = 1.0) -> None:
        """Paste the cloth inside the shapes."""
        mask = Image.new("L", cloth.image.size, 0)
        pen = ImageDraw.Draw(mask)
        for shape in shapes:
            pen.polygon(cloth.pixels(shape), fill=round(255 * opacity))
        self.image.paste(cloth.image, cloth.origin, mask)


def mirror(shape: Shape) -> list[Point]:
    """The shape on the other side of the figure."""
    return [(-x, y) for x, y in shape]


def both_sides(half: Shape) -> list[Point]:
    """A closed shape from its right half, given from the top down."""
    return [*half, *reversed(mirror(half))]


def smooth(shape: Shape, *, closed: bool = True, rounds: int = 2) -> list[Point]:
    """The shape with its corners cut `rounds` times (Chaikin's curve)."""
    points = list(shape)
    for _ in range(rounds):
        following = [*points[1:], points[0]] if closed else points[1:]
        cut = [
            point
            for (x, y), (u, v) in zip(points, following, strict=False)
            for point in (
                (0.75 * x + 0.25 * u, 0.75 * y + 0.25 * v),
                (0.25 * x + 0.75 * u, 0.25 * y + 0.75 * v),
            )
        ]
        points = cut if closed else [points[0], *cut, points[-1]]
    return points


def ring(centre: Point, radii: Point, num: int, start: float = 0.0) -> list[Point]:
    """`num` points around an ellipse; `start` is the first one's angle in turns."""
    (x, y), (across, along) = centre, radii
    turns = [2 * math.pi * (start + index / num) for index in range(num)]
    return [(x + across * math.cos(turn), y + along * math.sin(turn)) for turn in turns]


HAIR: Final[tuple[Colour, ...]] = ((34, 24, 22), (60, 38, 28), (24, 22, 30))
BOTTOMS: Final[tuple[Colour, ...]] = ((70, 94, 140), (88, 84, 96), (52, 56, 70), (170, 160, 150))


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Sizes of a body in units: half widths from the middle, heights from the shoulders."""

    shoulder: float
    chest: float
    waist: float
    hip: float
    long_hair: bool
    feet: float = 150.0

    @property
    def arm(self) -> tuple[Point, Point]:
        """The right arm's middle line: shoulder and wrist."""
        return (self.shoulder - 2.5, 8.5), (self.shoulder + 22.0, 66.0)


MAN: Final = Body(shoulder=24.0, chest=19.0, waist=17.0, hip=18.5, long_hair=False)
WOMAN: Final = Body(shoulder=20.0, chest=16.0, waist=12.0, hip=18.0, long_hair=True)
SHORT_WOMAN: Final = Body(shoulder=19.0, chest=15.0, waist=11.5, hip=17.0, long_hair=True, feet=132.0)


def draw_person(canvas: Canvas, body: Body, rng: Random, *, trousers: bool = True) -> Colour:
    """Draw the person without the garment; returns the colour of the skin."""
    skin, hair, bottoms = rng.choice(SKIN), rng.choice(HAIR), rng.choice(BOTTOMS)
    _draw_hair(canvas, body, hair)
    _draw_legs(canvas, body, bottoms if trousers else tint(skin, -0.08))
    half = [
        (5.5, -12),
        (6, -2),
        (body.shoulder - 3, 3),
        (body.shoulder, 7),
        (body.chest, 22),
        (body.waist, 43),
        (body.hip, 60),
    ]
    canvas.polygon(both_sides(half), skin)
    for arm in (body.arm, mirror(body.arm)):
        canvas.line(arm, skin, 8.0)
        canvas.disc(arm[0], 4.4, skin)
        canvas.ellipse((arm[1][0], arm[1][1] + 2), (4.4, 5.5), skin)
    canvas.polygon([(-5.5, -8), (5.5, -8), (4, -3), (-3, -1)], tint(skin, -0.18))
    canvas.ellipse((0, -17), (9.5, 12), skin)
    if trousers:
        waist = [
            (-body.waist - 3.6, 53),
            (body.waist + 3.6, 53),
            (body.hip + 0.5, 62),
            (-body.hip - 0.5, 62),
        ]
        canvas.polygon(waist, tint(bottoms, -0.25))
    return skin


def _draw_hair(canvas: Canvas, body: Body, hair: Colour) -> None:
    if body.long_hair:
        half = [(8, -32), (14, -20), (14.5, -4), (12, 12)]
        canvas.polygon(smooth(both_sides(half)), hair)
    else:
        canvas.ellipse((0, -22), (10.5, 13), hair)


def _draw_legs(canvas: Canvas, body: Body, colour: Colour) -> None:
    knee, feet = (58 + body.feet) / 2, body.feet
    leg = [
        (0.5, 60),
        (body.hip, 56),
        (body.hip - 2, knee),
        (body.hip - 6, feet),
        (6, feet),
        (2.5, knee),
    ]
    for side in (leg, mirror(leg)):
        canvas.polygon(side, colour)
    canvas.polygon([(-body.hip, 56), (body.hip, 56), (body.hip - 1, 70), (-body.hip + 1, 70)], colour)
    canvas.line([(0, 68), (0, knee)], tint(colour, -0.3), 0.8)
    shoe = [(6, feet), (body.hip - 6, feet), (body.hip - 3, feet + 5), (5, feet + 5)]
    for side in (shoe, mirror(shoe)):
        canvas.polygon(side, NAMED["black"])
