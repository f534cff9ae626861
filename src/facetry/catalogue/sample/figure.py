"""The person who wears the garments: bare shoulders, arms held away from the body, hips and legs."""

from dataclasses import dataclass
from random import Random
from typing import Final

from facetry.catalogue.sample.canvas import Canvas, Point, both_sides, mirror, smooth
from facetry.catalogue.sample.palette import NAMED, SKIN, Colour, tint

HAIR: Final[tuple[Colour, ...]] = ((34, 24, 22), (60, 38, 28), (24, 22, 30))
BOTTOMS: Final[tuple[Colour, ...]] = ((70, 94, 140), (88, 84, 96), (52, 56, 70), (170, 160, 150))


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Sizes in units: half widths from the middle, heights from the shoulders."""

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
    """The person without the garment; returns the colour of the skin."""
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
