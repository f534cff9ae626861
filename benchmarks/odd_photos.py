"""Photos that show no clothing: blank ones, noise, pages of text, charts, codes and landscapes, drawn.

Shapes: S side in pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Photo = NDArray[np.uint8]

SIDE_PX = 224
_WORDS = (
    "Delivery",
    "invoice",
    "of",
    "number",
    "total",
    "tax",
    "paid",
    "to",
    "order",
    "for",
    "and",
    "size",
)


def _flat(random: np.random.Generator) -> Image.Image:
    """One colour; every third one is white, black or grey, as what failed uploads leave."""
    colour = random.integers(0, 256, 3)
    if random.random() < 1 / 3:
        colour[:] = random.choice([0, 128, 255])
    return Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(colour.tolist()))


def _gradient(random: np.random.Generator) -> Image.Image:
    ends = random.integers(0, 256, (2, 3))
    along = np.linspace(0, 1, SIDE_PX)
    if random.random() < 0.5:
        rows = np.repeat(along[:, None], SIDE_PX, axis=1)
    else:
        rows = (along[:, None] + along) / 2
    return _image(ends[0] + rows[..., None] * (ends[1] - ends[0]))


def _noise(random: np.random.Generator) -> Image.Image:
    """Noise of dots or of blotches."""
    size = int(random.choice([SIDE_PX, 56, 14]))
    dots = _image(random.integers(0, 256, (size, size, 3)))
    return dots.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def _page(random: np.random.Generator) -> Image.Image:
    """A page of text, as a scanned invoice or a screenshot has it."""
    page = Image.new("RGB", (SIDE_PX, SIDE_PX), (int(random.integers(235, 256)),) * 3)
    draw, height = ImageDraw.Draw(page), int(random.integers(8, 18))
    font = ImageFont.load_default(height)
    for top in range(10, SIDE_PX - height, int(1.5 * height)):
        words = " ".join(random.choice(_WORDS, int(random.integers(2, 9))))
        draw.text((10, top), words, fill=(20, 20, 20), font=font)
    return page


def _chart(random: np.random.Generator) -> Image.Image:
    chart = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    draw = ImageDraw.Draw(chart)
    colour = tuple(random.integers(0, 256, 3).tolist())
    num_bars = int(random.integers(4, 12))
    width = (SIDE_PX - 40) / num_bars
    for bar, height in enumerate(random.integers(10, SIDE_PX - 50, num_bars).tolist()):
        left = 25 + bar * width
        draw.rectangle((left, SIDE_PX - 20 - height, left + 0.7 * width, SIDE_PX - 20), fill=colour)
    draw.line((20, 10, 20, SIDE_PX - 20, SIDE_PX - 10, SIDE_PX - 20), fill="black", width=2)
    return chart


def _code(random: np.random.Generator) -> Image.Image:
    """Black and white modules, as in a QR code."""
    num_modules = int(random.integers(21, 45))
    modules = 255 * random.integers(0, 2, (num_modules, num_modules, 1)).repeat(3, axis=2)
    return _image(modules).resize((SIDE_PX, SIDE_PX), Image.Resampling.NEAREST)


def _landscape(random: np.random.Generator) -> Image.Image:
    """A sky with a sun over hills."""
    sky = np.linspace(random.integers(60, 180, 3), random.integers(180, 256, 3), SIDE_PX)
    photo = _image(np.repeat(sky[:, None], SIDE_PX, axis=1))
    draw = ImageDraw.Draw(photo)
    x, y, radius = random.integers((20, 20, 8), (200, 90, 25)).tolist()
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 240, 180))
    columns = np.arange(SIDE_PX)
    for row in (120, 150, 180):
        waves = row + 18 * np.sin(columns * random.uniform(0.01, 0.06) + random.uniform(0, 6))
        hill = [(0, SIDE_PX), *zip(columns.tolist(), waves.tolist(), strict=True), (SIDE_PX, SIDE_PX)]
        draw.polygon(hill, fill=tuple(random.integers((20, 70, 20), (90, 160, 90)).tolist()))
    return photo.filter(ImageFilter.GaussianBlur(1))


KINDS: Mapping[str, Callable[[np.random.Generator], Image.Image]] = {
    "flat colour": _flat,
    "gradient": _gradient,
    "noise": _noise,
    "page of text": _page,
    "chart": _chart,
    "code": _code,
    "landscape": _landscape,
}

BLANK = ("flat colour", "gradient", "noise")
"""Kinds that show nothing at all."""


def draw_photos(folder: Path, kind: str, num_photos: int, seed: int = 0) -> list[Path]:
    """Draw photos of a kind into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    files = [folder / f"{kind.replace(' ', '_')}_{number}.jpg" for number in range(num_photos)]
    for file in files:
        KINDS[kind](random).save(file, quality=92)
    return files


def _image(content: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(content.astype(np.uint8))
