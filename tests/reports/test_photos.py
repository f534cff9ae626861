"""Thumbnails are small JPEGs inside the page."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from facetry.product import Product
from facetry.reports.pages import THUMBNAIL_PX, thumbnail


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("RGB", (1000, 500), (160, 80)),
        ("RGBA", (100, 3000), (7, 214)),
        ("P", (40, 30), (40, 30)),
        ("L", (400, 400), (160, 160)),
    ],
)
def test_thumbnail(tmp_path: Path, mode: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
    Image.new(mode, size).save(tmp_path / "photo.png")
    product = Product(id=1, category="Socks", photos=(tmp_path / "gone.png", tmp_path / "photo.png"))
    data = thumbnail(product)
    assert data is not None
    with Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))) as shown:
        assert shown.size == expected
    assert expected[0] <= THUMBNAIL_PX[0]
    assert expected[1] <= THUMBNAIL_PX[1]


def test_no_readable_photo(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert thumbnail(Product(id=1, category="Socks")) is None
    assert thumbnail(Product(id=1, category="Socks", photos=(tmp_path / "empty.jpg",))) is None
