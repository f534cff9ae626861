"""Each quality measures what its name says, and little else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from facetry.confidence.drift.quality import QUALITIES, measure_quality, small_copy
from facetry.images import load_batches
from facetry.product import Preprocess, Product

NAMES = [each.name for each in QUALITIES]


def draw_photo() -> Image.Image:
    """A red and blue chequered garment on grey, 200 x 300 pixels."""
    photo = Image.new("RGB", (200, 300), (150, 150, 150))
    cells = np.indices((20, 12)).sum(axis=0) % 2
    colours = np.array([[200, 30, 40], [40, 60, 200]], np.uint8)[cells]
    photo.paste(Image.fromarray(colours).resize((120, 200), Image.Resampling.NEAREST), (40, 50))
    return photo


def measure(tmp_path: Path, *photos: Image.Image) -> list[dict[str, float]]:
    """The qualities of photos by name."""
    for index, photo in enumerate(photos):
        photo.save(tmp_path / f"{index}.png")
    products = [
        Product(id=index, category="", photos=(tmp_path / f"{index}.png",))
        for index in range(len(photos))
    ]
    form = small_copy(())
    (batch,) = load_batches(products, (form,))
    return [dict(zip(NAMES, row, strict=True)) for row in measure_quality(batch, form).tolist()]


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "brightness": lambda photo: ImageEnhance.Brightness(photo).enhance(0.5),
    "contrast": lambda photo: ImageEnhance.Contrast(photo).enhance(0.3),
    "colourfulness": lambda photo: photo.convert("L").convert("RGB"),
    "sharpness": lambda photo: photo.filter(ImageFilter.GaussianBlur(4)),
    "size": lambda photo: photo.resize((100, 150)),
    "aspect ratio": lambda photo: photo.resize((100, 300)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_lowers_a_quality(tmp_path: Path, name: str) -> None:
    before, after = measure(tmp_path, draw_photo(), CHANGES[name](draw_photo()))
    assert after[name] < 0.7 * before[name]
    if name in {"size", "aspect ratio"}:
        assert after["brightness"] == pytest.approx(before["brightness"], abs=0.01)


def test_figures_are_in_their_units(tmp_path: Path) -> None:
    found, white = measure(tmp_path, draw_photo(), Image.new("RGB", (64, 64), "white"))
    assert found["plain background"] == pytest.approx(0.6, abs=0.02)
    assert found["size"] == pytest.approx(np.sqrt(200 * 300))
    assert found["aspect ratio"] == pytest.approx(2 / 3)
    assert white["brightness"] == pytest.approx(1, abs=1e-4)
    assert white["plain background"] == 1
    assert white["contrast"] == white["sharpness"] == white["colourfulness"] == 0


def test_a_photo_lying_on_its_side_counts_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    draw_photo().rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif)
    product = Product(id=0, category="", photos=(tmp_path / "turned.jpg",))
    form = small_copy(())
    (batch,) = load_batches([product], (form,))
    (found,) = measure_quality(batch, form)
    assert dict(zip(NAMES, found.tolist(), strict=True))["aspect ratio"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("is_scaled", [True, False])
def test_photos_are_decoded_as_the_predictor_does(is_scaled: bool) -> None:
    """One form that forbids a scaled decoding forbids it to all."""
    other = Preprocess(size_px=32, mean=(0, 0, 0), std=(1, 1, 1), scaled_decoding=is_scaled)
    assert small_copy((other,)).scaled_decoding == is_scaled
    assert not small_copy((other, other.model_copy(update={"scaled_decoding": False}))).scaled_decoding


def test_no_products_have_no_qualities() -> None:
    assert measure_quality([], small_copy(())).shape == (0, len(QUALITIES))
