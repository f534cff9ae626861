"""Product photos to measure with: drawn, about as large and as hard to decode as a shop's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from benchmarks.challenge import challenge_taxonomy
from facetry.runtime.files import write_text

WIDTH_PX, HEIGHT_PX = 512, 680
NUM_DRAWN = 8


def write_catalogue(
    folder: Path,
    num_products: int,
    *,
    sizes_px: Sequence[tuple[int, int]] = ((WIDTH_PX, HEIGHT_PX),),
) -> Path:
    """A table of products with a photo each, all heads of the challenge and no labels.

    The drawn photos have the widths and heights `sizes_px` in turn.
    """
    images = folder / "products_images"
    images.mkdir(parents=True)
    drawn = [
        draw_photo(number).resize(sizes_px[number % len(sizes_px)])
        for number in range(min(NUM_DRAWN, num_products))
    ]
    for number in range(num_products):
        drawn[number % NUM_DRAWN].save(images / f"{number:06d}.jpg", quality=88)
    taxonomy = challenge_taxonomy()
    categories = [taxonomy.categories[row % len(taxonomy.categories)] for row in range(num_products)]
    table = folder / "products.csv"
    pl.DataFrame({"id": range(num_products), "Category": categories}).write_csv(table)
    write_text(folder / "taxonomy.yaml", taxonomy.to_yaml())
    return table


def draw_photo(seed: int) -> Image.Image:
    """A garment's silhouette on a studio wall, with a print and a camera's noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX].astype(np.float32)
    wall = 225 - 25 * rows / HEIGHT_PX
    across, down = (columns / WIDTH_PX - 0.5) / 0.32, (rows / HEIGHT_PX - 0.55) / 0.42
    is_garment = (across**2 + down**4 < 1)[..., None]
    wave_px = random.uniform(6, 30, 2)
    pattern = np.sin(columns / wave_px[0]) * np.cos(rows / wave_px[1])
    colour = random.uniform(40, 200, 3)
    garment = colour + 40 * pattern[..., None]
    photo = np.where(is_garment, garment, wall[..., None]) + random.normal(
        0, 4, (HEIGHT_PX, WIDTH_PX, 1)
    )
    return Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8))
