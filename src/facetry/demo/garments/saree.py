"""Draw a saree on a person, each attribute in its own part of the picture.

The skirt shows the pattern and, over it, the print type, its lower edge the border's width; border,
pallu and blouse have their own cloth; the middle pleats show the ornamentation, the backdrop the
occasion.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from facetry.demo.garments.canvas import SHORT_WOMAN, Box, Canvas, Point, Shape, both_sides, draw_person
from facetry.demo.garments.motifs import SAREE_MOTIFS
from facetry.demo.garments.palette import (
    GOLD,
    NIGHT,
    PALE_GOLD,
    SILVER,
    SNOW,
    Colour,
    ink_on,
    is_dark,
    mix,
    pick_bands,
    pick_colour,
    shade_of,
    tint,
)
from facetry.demo.garments.tailoring import interpolate
from facetry.demo.garments.textures import fold, print_texture

Values = Mapping[str, str]

FRAME: Final[Box] = (-46, -12, 46, 132)
SKIRT_WIDTHS: Final = ((24.0, 10.0), (62.0, 24.0), (150.0, 38.0))
HEM: Final = 126.0
BLOUSE: Final[Shape] = both_sides([(10, 3), (19, 5), (27.5, 21), (18, 26), (16, 22), (14.5, 34)])
SASH: Final[Shape] = ((-16, 44), (-12, 58), (25, 10), (19, 3), (10, 3))
PALLU: Final[Shape] = ((12, 4), (20, 3), (27, 10), (44, 112), (22, 116), (14, 40))
PALLU_END: Final[Shape] = ((32.3, 56), (15.5, 61), (22, 116), (44, 112))
PLEATS: Final[Shape] = ((-6, 50), (6, 50), (10, 118), (-10, 118))
BORDER_HEIGHTS: Final[Mapping[str, float]] = {
    "no border": 0.0,
    "small border": 6.0,
    "big border": 19.0,
}
WEAVES: Final[Mapping[str, str]] = {
    "solid": "",
    "zari woven": "zari",
    "woven design": "zigzag",
    "default": "diagonals",
    "printed": "dots",
}
SPOTS: Final[tuple[Point, ...]] = (
    (-15, 66),
    (0, 80),
    (-20, 94),
    (9, 64),
    (11, 99),
    (-6, 107),
    (-27, 113),
)
"""Where the motifs are on the skirt."""


@dataclass(frozen=True, slots=True)
class Cloths:
    """The colours of a saree: its ground, its bands if it is multicoloured, and the skin below."""

    ground: Colour
    bands: tuple[Colour, ...]
    skin: Colour

    @property
    def edge(self) -> Colour:
        """The colour of seams and outlines."""
        return tint(self.ground, 0.3) if is_dark(self.ground) else tint(self.ground, -0.35)


def draw_saree(canvas: Canvas, values: Values, rng: Random) -> None:
    """Draw the person and the saree."""
    skin = draw_person(canvas, SHORT_WOMAN, rng, trousers=False)
    colour = values["color"]
    cloths = Cloths(pick_colour(colour, rng), pick_bands(colour, rng), skin)
    _draw_blouse(canvas, cloths, values, rng)
    opacity = 0.6 if values["transparency"] == "yes" else 1.0
    _draw_skirt(canvas, cloths, values, opacity, rng)
    _draw_ornament(canvas, cloths, values["ornamentation"])
    _draw_pallu(canvas, cloths, values, opacity, rng)
    if values["ornamentation"] == "tassels and latkans":
        _hang_tassels(canvas)


def _skirt(top: float, bottom: float) -> list[Point]:
    steps = [top + (bottom - top) * step / 8 for step in range(9)]
    return both_sides([(interpolate(SKIRT_WIDTHS, height), height) for height in steps])


def _draw_skirt(canvas: Canvas, cloths: Cloths, values: Values, opacity: float, rng: Random) -> None:
    shape = _skirt(42.0, HEM)
    cloth = canvas.cloth([shape], cloths.ground)
    _weave(cloth, cloths, values["pattern"], rng)
    _print_motifs(cloth, cloths, values["print_or_pattern_type"])
    height = BORDER_HEIGHTS[values["border_width"]]
    if height:
        _draw_border(cloth, cloths, values["border"], height)
    for x in (-10, -5, 5, 10):
        cloth.line([(x * 0.5, 46), (x, 122)], cloths.edge, 0.5)
    fold(cloth, rng)
    canvas.outline(shape, cloths.edge, 1.6)
    canvas.wear(cloth, [shape], opacity)


def _weave(cloth: Canvas, cloths: Cloths, pattern: str, rng: Random) -> None:
    """Draw the ground all over: bands of colour, then the pattern."""
    for band, colour in enumerate(cloths.bands * 2):
        left = -50 + 11 * band
        cloth.polygon([(left, 0), (left + 11, 0), (left + 11, 140), (left, 140)], colour)
    if WEAVES[pattern]:
        ink = _zari_on(cloths.ground) if pattern == "zari woven" else shade_of(cloths.ground, 0.4)
        print_texture(cloth, WEAVES[pattern], ink, rng)


def _zari_on(ground: Colour) -> Colour:
    """A gold that is visible: darker on light cloth."""
    return PALE_GOLD if is_dark(ground) else (206, 146, 30)


def _print_motifs(cloth: Canvas, cloths: Cloths, print_type: str) -> None:
    if print_type == "checked":
        for step in range(-4, 5):
            cloth.line([(step * 10, 40), (step * 10, 130)], ink_on(cloths.ground), 1.8)
            cloth.line([(-50, 84 + step * 10), (50, 84 + step * 10)], ink_on(cloths.ground), 1.8)
    elif print_type in SAREE_MOTIFS:
        for spot in SPOTS:
            SAREE_MOTIFS[print_type](cloth, spot, 8.0)


def _draw_border(cloth: Canvas, cloths: Cloths, border: str, height: float) -> None:
    """Draw the border along the lower edge of the skirt; for none, its width in a darker tone."""
    cloth.polygon([(-60, HEM - height), (60, HEM - height), (60, HEM + 2), (-60, HEM + 2)], NIGHT)
    BORDERS[border](cloth, cloths, ((-36, HEM - height / 2), (36, HEM - height / 2)), height)


Border = Callable[[Canvas, Cloths, tuple[Point, Point], float], None]


def _along(line: tuple[Point, Point], num: int) -> list[Point]:
    """`num` points at equal distances on a line, the outer ones half a distance from its ends."""
    (x, y), (u, v) = line
    shares = [(index + 0.5) / num for index in range(num)]
    return [(x + (u - x) * share, y + (v - y) * share) for share in shares]


def _border_zari(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """Gold with a bright middle and dark diamonds."""
    del cloths
    canvas.line(line, GOLD, height)
    canvas.line(line, PALE_GOLD, height * 0.45)
    for x, y in _along(line, 14):
        size = height * 0.22
        canvas.polygon([(x, y - size), (x + size, y), (x, y + size), (x - size, y)], (150, 96, 20))


def _border_woven(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """Crimson with blue and white blocks."""
    del cloths
    canvas.line(line, (196, 24, 60), height)
    size = min(height * 0.27, 3.0)
    for row in (0,) if height < 10 else (-1, 1):
        for column, (x, y) in enumerate(_along(line, 12)):
            colour = SNOW if (column + row) % 2 else (30, 80, 190)
            canvas.disc((x, y + row * height * 0.22), size, colour)


def _border_temple(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """Dark green with a row of tall triangles above it."""
    del cloths
    ink = (10, 86, 56)
    canvas.line(line, ink, height)
    for x, y in _along(line, 9):
        canvas.polygon(
            [(x - 4, y - height * 0.4), (x + 4, y - height * 0.4), (x, y - height * 0.5 - 9)], ink
        )


def _border_lace(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """Silver scallops: a border for the value `default`."""
    canvas.line(line, SILVER, height)
    for x, y in _along(line, 12):
        canvas.disc((x, y - height * 0.4), 3.2, SILVER)
        canvas.disc((x, y - height * 0.4), 1.6, (110, 120, 150))
    canvas.line(line, cloths.edge, 0.6)


def _border_solid(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """One plain violet band."""
    del cloths
    canvas.line(line, (110, 30, 130), height)


def _border_none(canvas: Canvas, cloths: Cloths, line: tuple[Point, Point], height: float) -> None:
    """The cloth's own colour, a little darker."""
    canvas.line(line, shade_of(cloths.ground, 0.18), height)


BORDERS: Final[Mapping[str, Border]] = {
    "zari": _border_zari,
    "woven design": _border_woven,
    "temple border": _border_temple,
    "default": _border_lace,
    "solid": _border_solid,
    "no border": _border_none,
}


def _draw_blouse(canvas: Canvas, cloths: Cloths, values: Values, rng: Random) -> None:
    cloth = canvas.cloth([BLOUSE], cloths.ground)
    match values["blouse_pattern"]:
        case "same as saree":
            _weave(cloth, cloths, values["pattern"], rng)
        case "same as border":
            for y in (12, 24, 36):
                BORDERS[values["border"]](cloth, cloths, ((-30, y), (30, y)), 12)
        case "solid":
            cloth.polygon(both_sides([(40, -10), (40, 50)]), (22, 22, 28))
        case _:
            cloth.polygon(both_sides([(40, -10), (40, 50)]), (64, 196, 206))
            print_texture(cloth, "dots", SNOW, rng)
    fold(cloth, rng)
    canvas.wear(cloth, [BLOUSE])
    canvas.outline(BLOUSE, cloths.edge, 0.7)
    canvas.polygon(both_sides([(8.5, 0), (8, 9), (4, 11)]), cloths.skin)


def _draw_pallu(canvas: Canvas, cloths: Cloths, values: Values, opacity: float, rng: Random) -> None:
    """Draw the sash across the chest and the end that hangs from the shoulder."""
    shapes = (PALLU, SASH)
    cloth = canvas.cloth(shapes, cloths.ground)
    _weave(cloth, cloths, "solid", rng)
    _weave_end(cloth, cloths, values, rng)
    fold(cloth, rng)
    canvas.wear(cloth, shapes, max(opacity, 0.75))
    for shape in shapes:
        canvas.outline(shape, cloths.edge, 0.7)
    if values["border"] != "no border":
        border = BORDERS[values["border"]]
        border(canvas, cloths, ((-15, 56), (19, 15)), 4.5)
        border(canvas, cloths, ((21, 114), (44, 110)), 4.5)


def _weave_end(cloth: Canvas, cloths: Cloths, values: Values, rng: Random) -> None:
    """Draw the pallu's details on its hanging end."""
    details = values["pallu_details"]
    if details == "same as saree":
        _weave(cloth, cloths, values["pattern"], rng)
        return
    ground, texture, ink = PALLU_CLOTHS[details]
    panel = cloth.cloth([PALLU_END], ground)
    print_texture(panel, texture, ink, rng)
    cloth.wear(panel, [PALLU_END])


PALLU_CLOTHS: Final[Mapping[str, tuple[Colour, str, Colour]]] = {
    "zari woven": (GOLD, "zari", (140, 84, 16)),
    "woven design": ((176, 22, 62), "zigzag", (250, 190, 200)),
    "default": ((36, 60, 140), "diamonds", (150, 220, 250)),
}
"""The hanging end's ground, texture and ink."""


def _draw_ornament(canvas: Canvas, cloths: Cloths, ornament: str) -> None:
    """Draw jacquard or mirror work on the middle pleats."""
    if ornament == "jacquard":
        panel = canvas.cloth([PLEATS], shade_of(cloths.ground, 0.22))
        print_texture(panel, "lattice", shade_of(cloths.ground, 0.65), Random(0))
        canvas.wear(panel, [PLEATS])
    elif ornament == "default":
        for y in range(54, 118, 8):
            for x in (-6.0, 0.0, 6.0):
                canvas.disc((x, y), 2.4, mix(GOLD, NIGHT, 0.5))
                canvas.disc((x, y), 1.7, (236, 246, 255))


def _hang_tassels(canvas: Canvas) -> None:
    """Draw large tassels at the waist and below the pallu."""
    for x, y in ((-13, 48), (-6, 52), (24, 115), (31, 114), (38, 113), (43, 111)):
        canvas.line([(x, y), (x, y + 5)], GOLD, 0.9)
        canvas.disc((x, y + 5), 2.3, (230, 40, 60))
        brush = [(x - 1.6, y + 6), (x + 1.6, y + 6), (x + 3.2, y + 15), (x - 3.2, y + 15)]
        canvas.polygon(brush, (250, 150, 30))
