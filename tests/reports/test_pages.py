"""Pages: every template sees the shared ones, names are escaped, thumbnails are small and inside."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from jinja2 import TemplateNotFound
from PIL import Image

from facetry.product import Product
from facetry.reports.pages import THUMBNAIL_PX, data_url, make_environment, thumbnail


def test_a_page_has_the_shared_parts_around_its_own() -> None:
    environment = make_environment("facetry.evaluation")
    page = environment.from_string(
        '{% extends "page.html.jinja" %}{% block main %}<p>{{ name|breakable }}</p>{% endblock %}'
    ).render(title="<Title>", name="a_b & <c>")
    assert "<title>&lt;Title&gt;</title>" in page
    assert "<p>a_<wbr>b &amp; &lt;c&gt;</p>" in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "default-src 'none'" in page
    assert "table.sortable" in page


def test_own_templates_are_found_and_others_are_not() -> None:
    environment = make_environment("facetry.evaluation")
    assert environment.get_template("report.html.jinja")
    with pytest.raises(TemplateNotFound):
        environment.get_template("none.html.jinja")


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("RGB", (1000, 500), (360, 180)),
        ("RGBA", (100, 3000), (16, 480)),
        ("P", (40, 30), (40, 30)),
        ("L", (400, 400), (360, 360)),
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


def test_photos_that_hardly_compress_become_smaller_instead() -> None:
    noise = np.random.default_rng(0).integers(256, size=(480, 360, 3), dtype=np.uint8)
    assert len(data_url(noise)) < 0.2 * 480 * 360
    flat = np.full((480, 360, 3), 200, dtype=np.uint8)
    assert len(data_url(flat)) < 1000


def test_no_readable_photo(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert thumbnail(Product(id=1, category="Socks")) is None
    assert thumbnail(Product(id=1, category="Socks", photos=(tmp_path / "empty.jpg",))) is None
