"""A picture with its own units: shapes are given in a figure's coordinates, wherever it stands.

The x axis points right from the figure's middle, y down from its shoulders. Everything is drawn at
twice the photo's size and halved at the end, which smooths the edges.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self, final

from PIL import Image, ImageChops, ImageDraw

from facetry.catalogue.sample.palette import Colour

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
        """The same pose on a picture whose corner lies elsewhere."""
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
        """Colour wherever the mask, as large as the picture, is set."""
        self.image.paste(fill, (0, 0), mask)

    def darken(self, shade: Image.Image) -> None:
        """Multiply by a picture of the same size; white leaves as it is."""
        self.image = ImageChops.multiply(self.image, shade)
        self.pen = ImageDraw.Draw(self.image)

    def cloth(self, shapes: Sequence[Shape], fill: Colour) -> Self:
        """A canvas of one colour that spans the shapes, to be painted and then worn."""
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
        """Show the cloth inside the shapes."""
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
    """Corners cut, again and again (Chaikin's curve)."""
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
    """`num` points around an ellipse; `start` in turns."""
    (x, y), (across, along) = centre, radii
    turns = [2 * math.pi * (start + place / num) for place in range(num)]
    return [(x + across * math.cos(turn), y + along * math.sin(turn)) for turn in turns]


Painter = Callable[[Canvas], None]
