"""The cut of tops and kurtis: outlines of body and sleeves, and the shapes of necks.

All sizes are in a figure's units and for the right half; the left one is its mirror image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from facetry.demo.garments.canvas import Body, Point, Shape, both_sides, mirror, ring, smooth

Widths = Sequence[Point]
"""(height, half width) from the armpits down."""

FITS: Final[Mapping[str, Widths]] = {
    "regular": ((22, 19), (62, 20.5), (130, 24)),
    "fitted": ((22, 16.5), (36, 11.5), (44, 12.5), (62, 18.5), (130, 22)),
    "boxy": ((22, 27), (62, 27.5), (130, 28)),
    "loose": ((22, 21), (38, 25), (62, 32), (92, 38), (130, 46)),
    "default": ((22, 19), (62, 21), (130, 24)),
    "straight": ((22, 17.5), (44, 16.5), (62, 19.5), (130, 20.5)),
    "a-line": ((22, 16.5), (42, 14), (62, 23), (92, 37), (130, 47)),
}
SLANTED_FIT: Final = "default"
"""The fit whose hem is lower on one side."""

SLEEVE_ENDS: Final[Mapping[str, float]] = {
    "sleeveless": 0.0,
    "short sleeves": 0.4,
    "default": 0.56,
    "three-quarter sleeves": 0.7,
    "long sleeves": 0.96,
}
"""Where on the arm a sleeve ends: 0 at the shoulder, 1 at the wrist."""

STYLES: Final[Mapping[str, str]] = {
    "regular": "regular",
    "regular sleeves": "regular",
    "cuffed sleeves": "cuffed",
    "puff sleeves": "puff",
    "default": "flared",
    "sleeveless": "bare",
}

NECK_DEPTHS: Final[Mapping[str, float]] = {
    "round": 9,
    "polo": 8,
    "round neck": 9,
    "high": 2,
    "square neck": 15,
    "v-neck": 21,
    "sweetheart neck": 19,
    "stylised": 10,
    "default": 9,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The shape of one garment. `sleeve_end` as in SLEEVE_ENDS, `style` one of STYLES' values."""

    body: Body
    widths: Widths
    hem: float
    sleeve_end: float
    style: str
    neck: str = "round"
    slanted: bool = False
    cape: bool = False

    def half_width(self, height: float) -> float:
        """The garment's half width at a height."""
        return interpolate(self.widths, height)

    def hem_at(self, side: int) -> float:
        """The height of the hem on the right (1) or left (-1) side."""
        return self.hem + (9 * side if self.slanted else 0)


def interpolate(widths: Widths, height: float) -> float:
    """The half width at a height, interpolated smoothly between the given ones."""
    above, below = widths[0], widths[0]
    for each in widths:
        above, below = below, each
        if height <= each[0]:
            break
    span = below[0] - above[0]
    share = min(1.0, max(0.0, (height - above[0]) / span)) if span else 0.0
    return above[1] + share * share * (3 - 2 * share) * (below[1] - above[1])


def cut_body(cut: Cut) -> list[Point]:
    """The outline of the garment without its sleeves."""
    middle = (0.0, cut.hem + 2.5)
    return [*_half_body(cut, 1), middle, *reversed(mirror(_half_body(cut, -1)))]


def _half_body(cut: Cut, side: int) -> list[Point]:
    bare = cut.style == "bare" or cut.sleeve_end == 0.0
    shoulder = 13.5 if bare else max(cut.body.shoulder, cut.half_width(22) - 1)
    hem = cut.hem_at(side)
    heights = [*range(22, int(hem), 6), hem]
    sides = [(cut.half_width(height), float(height)) for height in heights]
    return [(8, -1), (shoulder, 2 if bare else 5), *([(13.5, 14)] if bare else []), *sides]


def cut_sleeves(cut: Cut) -> list[list[Point]]:
    """The outlines of both sleeves; none for bare arms."""
    span = _sleeve_span(cut)
    if span[1] <= span[0]:
        return []
    narrow = 6.5 if span[1] > 0.5 else 8.0
    wide = {"flared": 14.0, "puff": 5.5}.get(cut.style, 19.0 if cut.cape else narrow)
    half = _along_arm(cut.body, span, (8.5, wide))
    shapes = [half, mirror(half)]
    if cut.style != "bare":
        cap = ring(on_arm(cut.body, 0.0), (8.4, 8.4), 14)
        shapes += [cap, mirror(cap)]
    if cut.style == "puff":
        puff = ring(on_arm(cut.body, 0.1), (11.5, 10.5), 20)
        shapes += [puff, mirror(puff)]
    return shapes


def cut_cuffs(cut: Cut) -> list[list[Point]]:
    """The outlines of a band around the end of each sleeve."""
    end = max(cut.sleeve_end, 0.12)
    half = _along_arm(cut.body, (end - 0.1, end + 0.03), (10.0, 10.0))
    return [half, mirror(half)]


def _sleeve_span(cut: Cut) -> tuple[float, float]:
    """Where sleeves begin and end on the arm; even the shortest ones are long enough to show a style."""
    if cut.style == "bare":
        return (0.22, max(cut.sleeve_end, 0.0))
    return (-0.06, cut.sleeve_end or 0.1)


def on_arm(body: Body, share: float, aside: float = 0.0) -> Point:
    """A point on the right arm: `share` of the way down it, `aside` from its middle line."""
    (x, y), (u, v) = body.arm
    length = ((u - x) ** 2 + (v - y) ** 2) ** 0.5
    return (
        x + (u - x) * share + (v - y) / length * aside,
        y + (v - y) * share - (u - x) / length * aside,
    )


def _along_arm(body: Body, span: tuple[float, float], halves: tuple[float, float]) -> list[Point]:
    return [
        on_arm(body, span[0], halves[0]),
        on_arm(body, span[1], halves[1]),
        on_arm(body, span[1], -halves[1]),
        on_arm(body, span[0], -halves[0]),
    ]


def cut_band(cut: Cut, top: float, bottom: float, spare: float = 0.0) -> list[Point]:
    """A band around the body between two heights, slanted as the hem is."""
    half = [(cut.half_width(top) + spare, top), (cut.half_width(bottom) + spare, bottom)]
    if cut.slanted:
        slope = (cut.hem_at(1) - cut.hem) / cut.half_width(cut.hem)
        return [(x, y + slope * x) for x, y in both_sides(half)]
    return both_sides(half)


def cut_neck(neck: str) -> Shape:
    """The opening through which the skin is visible."""
    match neck:
        case "square neck":
            return both_sides([(13, 0), (13, 15)])
        case "v-neck":
            return both_sides([(10, -1), (0, 21)])
        case "sweetheart neck":
            return both_sides([(14, 1), (14.5, 12), (11, 17.5), (6, 18.5), (1.5, 15), (0, 11)])
        case "default":
            return smooth(both_sides([(19, 3.5), (15, 8), (6, 10)]), rounds=1)
        case "high":
            return both_sides([(5, -8.5), (5, -8)])
        case _:
            return both_sides([(9.5, -1), (8.6, 4), (5.5, 7.6), (1.5, 9)])
