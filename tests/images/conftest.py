"""Drawn photos: smooth, sharp and noisy parts, no two corners alike."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from facetry.product import Preprocess, Product

Draw = Callable[[int, int], Image.Image]


def draw_photo(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * columns / max(width - 1, 1), 255 * rows / max(height - 1, 1)
    blue = 127 + 90 * np.sin(columns / 9) * np.cos(rows / 7)
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 1))
    pixels = np.stack([red, green, blue], axis=2) + noise
    photo = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(photo)
    pen.ellipse([width * 0.2, height * 0.15, width * 0.5, height * 0.5], fill=(200, 30, 60))
    pen.rectangle([width * 0.6, height * 0.5, width * 0.9, height * 0.8], outline=(0, 0, 0))
    return photo


@pytest.fixture(scope="session")
def draw() -> Draw:
    return draw_photo


@pytest.fixture
def spec() -> Preprocess:
    return Preprocess(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def products(tmp_path: Path) -> list[Product]:
    """Twelve products with JPEGs of which no two are alike."""
    made = []
    for number in range(12):
        path = tmp_path / f"{number}.jpg"
        draw_photo(60 + 5 * number, 80).save(path, quality=90)
        made.append(Product(id=number, category="Sarees", photos=(path,)))
    return made
