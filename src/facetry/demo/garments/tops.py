"""Draw T-shirts, tops, tunics and kurtis on a person, each attribute in its own part of the picture.

The pattern is all over the cloth, the print type on the chest, the surface styling at the hem, the
shoulders or the neck; the backdrop shows the occasion.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from facetry.demo.garments.canvas import (
    MAN,
    SHORT_WOMAN,
    WOMAN,
    Body,
    Box,
    Canvas,
    Point,
    draw_person,
    mirror,
)
from facetry.demo.garments.motifs import (
    CHEST_PRINTS,
    draw_bow,
    draw_paisley,
    draw_patch,
    draw_words,
)
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
from facetry.demo.garments.tailoring import (
    FITS,
    NECK_DEPTHS,
    SLANTED_FIT,
    SLEEVE_ENDS,
    STYLES,
    Cut,
    cut_band,
    cut_body,
    cut_cuffs,
    cut_neck,
    cut_sleeves,
    on_arm,
)
from facetry.demo.garments.textures import fold, print_texture

Values = Mapping[str, str]

LENGTHS: Final[Mapping[str, float]] = {
    "crop": 40.0,
    "regular": 64.0,
    "long": 90.0,
    "knee length": 88.0,
    "calf length": 117.0,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What the tops of a category have in common: body, frame, and the fit unless it is an attribute."""

    body: Body
    frame: Box
    fit: str = "regular"
    trousers: bool = True


MEN: Final = Kind(MAN, (-53, -14, 53, 88), "regular")
WOMEN: Final = Kind(WOMAN, (-50, -15, 50, 98))
KURTIS: Final = Kind(SHORT_WOMAN, (-49, -13, 49, 134), "a-line", trousers=False)


@dataclass(frozen=True, slots=True)
class Dyes:
    """The cloth's ground colour, its bands if it is multicoloured, and the skin below."""

    ground: Colour
    bands: tuple[Colour, ...]
    skin: Colour

    @property
    def edge(self) -> Colour:
        """The colour of seams and outlines."""
        return tint(self.ground, 0.3) if is_dark(self.ground) else tint(self.ground, -0.35)


def draw_top(canvas: Canvas, kind: Kind, values: Values, rng: Random) -> None:
    """Draw the person and the garment."""
    skin = draw_person(canvas, kind.body, rng, trousers=kind.trousers)
    colour = values["color"]
    dyes = Dyes(pick_colour(colour, rng), pick_bands(colour, rng), skin)
    cut = cut_garment(kind, values)
    shapes = [*cut_sleeves(cut), cut_body(cut)]
    cloth = canvas.cloth(shapes, dyes.ground)
    _dye(cloth, dyes)
    _weave(cloth, values, dyes, rng)
    printing = _print_panel if kind is KURTIS else _print_chest
    printing(cloth, cut, values["print_or_pattern_type"], rng)
    fold(cloth, rng)
    for shape in shapes:
        canvas.outline(shape, dyes.edge, 1.6)
    canvas.wear(cloth, shapes)
    _sew_armholes(canvas, cut, dyes)
    _finish_sleeves(canvas, cut, dyes)
    _draw_neck(canvas, cut, dyes)
    SURFACES.get(values.get("surface_styling", ""), _add_nothing)(canvas, cut, dyes)
    ORNAMENTS.get(values.get("ornamentation", ""), _add_nothing)(canvas, cut, dyes)


def cut_garment(kind: Kind, values: Values) -> Cut:
    """The cut for these values."""
    fit = values.get("fit_shape", kind.fit)
    length = values["sleeve_length"]
    wide = fit if kind.body.chest < MAN.chest else "man"
    return Cut(
        body=kind.body,
        widths=FITS[fit] if wide != "man" else ((22, 22), (130, 25)),
        hem=LENGTHS[values.get("length", "regular")],
        sleeve_end=SLEEVE_ENDS[length],
        style=STYLES[values.get("sleeve_styling", "regular")],
        neck=values.get("neck", values.get("neck_collar", "round")),
        slanted=fit == SLANTED_FIT,
        cape=length == "default",
    )


def _dye(cloth: Canvas, dyes: Dyes) -> None:
    for index in range(11 if dyes.bands else 0):
        top = -12 + 13 * index
        band = [(-90, top), (90, top), (90, top + 13), (-90, top + 13)]
        cloth.polygon(band, dyes.bands[index % len(dyes.bands)])


def _weave(cloth: Canvas, values: Values, dyes: Dyes, rng: Random) -> None:
    """Draw the pattern all over, and knitted stitches."""
    texture = WEAVES[values["pattern"]]
    if texture:
        print_texture(cloth, texture, shade_of(dyes.ground), rng)
    if values.get("surface_styling") == "knitted":
        print_texture(cloth, "knit", shade_of(dyes.ground, 0.28), rng)


WEAVES: Final[Mapping[str, str]] = {"solid": "", "printed": "dots", "default": "diagonals"}


def _print_chest(cloth: Canvas, cut: Cut, print_type: str, rng: Random) -> None:
    top, bottom = NECK_DEPTHS[cut.neck] + 1.5, min(cut.hem - 3, 52.0)
    centre, radius = (0.0, (top + bottom) / 2), min(13.0, (bottom - top) / 2)
    if print_type == "typography":
        draw_words(cloth, centre, radius * 1.1, rng)
    elif print_type == "default":
        _draw_stripes(cloth, centre[1], radius)
    elif print_type in CHEST_PRINTS:
        CHEST_PRINTS[print_type](cloth, centre, radius)


def _print_panel(cloth: Canvas, cut: Cut, print_type: str, rng: Random) -> None:
    """Draw paisleys down the front of a kurti."""
    del cut, rng
    for y in (34.0, 56.0) if print_type == "default" else ():
        draw_paisley(cloth, (0, y), 10.0)


def _draw_stripes(cloth: Canvas, middle: float, radius: float) -> None:
    """Racing stripes across the chest."""
    for shift, colour in ((-0.55, (236, 92, 30)), (0.0, SNOW), (0.55, (30, 92, 170))):
        y = middle + shift * radius
        cloth.line([(-60, y), (60, y)], NIGHT, radius * 0.62)
        cloth.line([(-60, y), (60, y)], colour, radius * 0.44)


def _sew_armholes(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    if cut.style == "bare" or cut.sleeve_end == 0.0:
        return
    width = cut.half_width(22)
    seam = [(width - 1, 22), (width - 3.5, 14), (max(cut.body.shoulder, width - 1) - 3, 6)]
    for side in (seam, mirror(seam)):
        canvas.line(side, dyes.edge, 0.6)


def _finish_sleeves(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    if cut.style == "cuffed":
        for cuff in cut_cuffs(cut):
            canvas.polygon(cuff, ink_on(dyes.ground))
            canvas.outline(cuff, dyes.edge, 0.8)
    elif cut.style == "puff":
        _gather(canvas, cut, dyes)


def _gather(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    for aside in (-6.0, -2.0, 2.0, 6.0):
        pleat = [on_arm(cut.body, 0.0, aside * 0.6), on_arm(cut.body, 0.22, aside)]
        canvas.line(pleat, dyes.edge, 0.8)
        canvas.line(mirror(pleat), dyes.edge, 0.8)


def _draw_neck(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    opening = cut_neck(cut.neck)
    canvas.polygon(opening, dyes.skin)
    if cut.neck == "high":
        _draw_roll(canvas, dyes)
    else:
        canvas.line(opening, dyes.edge, 2.2)
    if cut.neck == "polo":
        _draw_polo(canvas, dyes)
    elif cut.neck == "stylised":
        _draw_wide_collar(canvas, dyes)


def _draw_roll(canvas: Canvas, dyes: Dyes) -> None:
    """A collar rolled up to the chin."""
    roll = [(-8.5, 3.5), (-8, -9.5), (8, -9.5), (8.5, 3.5)]
    canvas.polygon(roll, shade_of(dyes.ground, 0.15))
    canvas.outline(roll, dyes.edge, 0.9)
    canvas.line([(-8, -3), (8, -3)], dyes.edge, 0.9)


def _draw_polo(canvas: Canvas, dyes: Dyes) -> None:
    """A folded collar and a buttoned placket."""
    ink = shade_of(dyes.ground, 0.8)
    canvas.polygon([(-3, 5), (3, 5), (3, 25), (-3, 25)], shade_of(dyes.ground, 0.2))
    canvas.outline([(-3, 5), (3, 5), (3, 25), (-3, 25)], dyes.edge, 0.7)
    for y in (10, 16, 22):
        canvas.disc((0, y), 1.2, ink_on(dyes.ground))
    flap = [(6.5, -5), (12.5, 0.5), (9, 12), (0.5, 6)]
    for side in (flap, mirror(flap)):
        canvas.polygon(side, ink)
        canvas.outline(side, dyes.edge, 0.7)


def _draw_wide_collar(canvas: Canvas, dyes: Dyes) -> None:
    """A large contrasting collar with a black ribbon."""
    ink = ink_on(dyes.ground)
    lapel = [(9, -2), (19, 5), (17, 14), (8, 17), (1, 9), (6, 6)]
    for side in (lapel, mirror(lapel)):
        canvas.polygon(side, ink)
        canvas.outline(side, dyes.edge, 0.8)
    draw_bow(canvas, (0, 10), 4.5, (200, 30, 60))


def _add_nothing(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Stands in for values without anything to draw."""


def _add_rib(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """A ribbed hem, as knitwear has."""
    top = cut.hem - 5
    band = cut_band(cut, top, cut.hem + 1)
    canvas.polygon(band, shade_of(dyes.ground, 0.15))
    half = cut.half_width(top)
    for stitch in range(-7, 8):
        x = stitch / 7.5 * half
        slope = (cut.hem_at(1) - cut.hem) / half * x
        canvas.line([(x, top + slope), (x, cut.hem + slope)], dyes.edge, 0.7)


def _add_ruffles(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Two tiers of frills at the hem."""
    for tier, colour in ((4.0, tint(dyes.ground, -0.12)), (-5.0, tint(dyes.ground, 0.12))):
        top, bottom = cut.hem + tier - 6, cut.hem + tier + 3
        half = cut.half_width(cut.hem) + 2 + tier * 0.4
        slope = (cut.hem_at(1) - cut.hem) / half
        waves: list[Point] = []
        for wave in range(15):
            x = (wave / 7 - 1) * half
            waves.append((x, bottom + slope * x + (2.6 if wave % 2 else -2.6)))
        shape = [(half - 2.5, top + slope * half), (-half + 2.5, top - slope * half), *waves]
        canvas.polygon(shape, colour)
        canvas.outline(shape, dyes.edge, 1.0)
        for x, y in waves[2:-2:2]:
            canvas.line([(x * 0.95, top + 1 + slope * x), (x, y)], dyes.edge, 0.6)


def _add_neck_ties(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Two long cords from the neck that end in tassels, and a bow."""
    y = min(NECK_DEPTHS[cut.neck], 10.0)
    ink = ink_on(dyes.ground)
    for side in (-1, 1):
        cord = [(0, y), (side * 9, y + 11), (side * 12, y + 24)]
        canvas.line(cord, ink, 1.5)
        canvas.disc(cord[-1], 2.4, ink)
    draw_bow(canvas, (0, y), 7.0, ink)


def _add_waist_ties(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """A sash around the waist with a bow at the side."""
    y = min(46.0, cut.hem - 6)
    ink = shade_of(dyes.ground, 0.7)
    sash = cut_band(cut, y - 3, y + 3, 0.6)
    canvas.polygon(sash, ink)
    canvas.outline(sash, dyes.edge, 0.7)
    draw_bow(canvas, (-cut.half_width(y) * 0.6, y), 9.0, ink)


def _add_patch(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Sewn-on patches low on both sides."""
    del dyes
    x, y = cut.half_width(cut.hem) * 0.72, cut.hem - 8
    slope = (cut.hem_at(1) - cut.hem) / cut.half_width(cut.hem)
    for side in (-1, 1):
        draw_patch(canvas, (side * x, y + slope * side * x), 6.0)


def _add_pearls(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Rows of pearls on the shoulders: a surface for the value `default`."""
    del cut
    for pearl in range(4):
        for side in (-1, 1):
            centre = (side * (12 + pearl * 2.6), 3.6 + pearl * 1.1)
            canvas.disc(centre, 1.9, dyes.edge)
            canvas.disc(centre, 1.5, SILVER)


SURFACES: Final = {
    "knitted": _add_rib,
    "ruffles": _add_ruffles,
    "tie-ups": _add_neck_ties,
    "waist tie-ups": _add_waist_ties,
    "applique": _add_patch,
    "default": _add_pearls,
}


def _add_net(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """See-through net over the shoulders and around the hem."""
    shapes = [cut_band(cut, cut.hem - 15, cut.hem), _yoke()]
    net = canvas.cloth(shapes, mix(dyes.skin, SNOW, 0.35))
    print_texture(net, "mesh", mix(dyes.ground, NIGHT, 0.15), Random(0))
    canvas.wear(net, shapes)
    for shape in shapes:
        canvas.outline(shape, dyes.edge, 0.8)


def _yoke() -> list[Point]:
    right = [(9.5, -1), (14, 2), (15, 17), (0, 21)]
    return [*right, *reversed(mirror(right[:-1])), (-8.6, 4), (-5.5, 7.6), (5.5, 7.6), (8.6, 4)]


def _add_embroidery(canvas: Canvas, cut: Cut, dyes: Dyes) -> None:
    """Golden beads around the neck and a golden hem: an ornament for the value `default`."""
    canvas.polygon(cut_band(cut, cut.hem - 8, cut.hem), GOLD)
    canvas.line(
        [(-cut.half_width(cut.hem - 4), cut.hem - 4), (cut.half_width(cut.hem - 4), cut.hem - 4)],
        dyes.ground,
        1.2,
    )
    for x, y in ((10.5, 4), (8, 9), (4.5, 13), (0, 22), (0, 16)):
        for side in (-1, 1):
            canvas.disc((side * x, y), 1.8, GOLD)
            canvas.disc((side * x, y), 0.9, PALE_GOLD)


ORNAMENTS: Final = {"net": _add_net, "default": _add_embroidery}
