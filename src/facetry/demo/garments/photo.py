"""Draw one product's photo from its true values; the same brief gives the same photo on any machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from PIL import Image

from facetry.demo.garments import saree, scene, tops
from facetry.demo.garments.canvas import Box, Canvas

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoBrief:
    """What to draw. All that is random is derived from `seed` and the product's `number`.

    Another `take` shows the same garment in another scene.
    """

    category: str
    values: Values
    seed: int
    number: int
    size_px: int
    boxed: bool
    take: int = 0

    def random(self, part: str) -> Random:
        """A part's own generator, so that changes to one part never change another."""
        scene = f"/{self.take}" if self.take and part != "garment" else ""
        return Random(f"{self.seed}/{self.number}/{part}{scene}")


@dataclass(frozen=True, slots=True)
class Staging:
    """How a category is photographed: what must be in the frame, and what draws the garment.

    `occasion` is the attribute that the backdrop shows; "" for none.
    """

    frame: Box
    draw: Callable[[Canvas, Values, Random], None]
    occasion: str = ""


def _stage(kind: tops.Kind, occasion: str = "") -> Staging:
    return Staging(
        kind.frame, lambda canvas, values, rng: tops.draw_top(canvas, kind, values, rng), occasion
    )


STAGINGS: Final[Mapping[str, Staging]] = {
    "Men Tshirts": _stage(tops.MEN),
    "Sarees": Staging(saree.FRAME, saree.draw_saree, "occasion"),
    "Kurtis": _stage(tops.KURTIS, "occasion"),
    "Women Tshirts": _stage(tops.WOMEN),
    "Women Tops & Tunics": _stage(tops.WOMEN, "ocassion"),
}


def draw_photo(brief: PhotoBrief) -> Image.Image:
    """Draw the photo, RGB, `size_px` wide."""
    staging = STAGINGS[brief.category]
    rng = brief.random("frame")
    size = (brief.size_px, scene.pick_height(brief.size_px, rng))
    large = (size[0] * 2, size[1] * 2)
    mood = brief.values.get(staging.occasion, "daily")
    backdrop = scene.draw_backdrop(large, mood, brief.random("backdrop"))
    canvas = Canvas(backdrop, scene.pick_pose(large, staging.frame, rng), large[0])
    staging.draw(canvas, brief.values, brief.random("garment"))
    if mood == "party":
        scene.sprinkle_sparkles(canvas, staging.frame, brief.random("sparkles"))
    scene.add_clutter(canvas, brief.random("clutter"))
    photo = scene.light(canvas.image.reduce(2), brief.random("light"))
    if brief.boxed:
        scene.black_out_corner(photo, brief.random("corner"))
    return photo
