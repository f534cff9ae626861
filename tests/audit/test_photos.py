"""Photos with planted faults are found, and only a few others."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from facetry.audit.photos import ISSUES, quality_issues
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.duplicates.scan import scan_photos
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.product import Product

pytest.importorskip("cleanvision")


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 255, (100, 100, 3)).astype(np.uint8)


def judge(folder: Path, *photos: np.ndarray) -> dict[int, set[str]]:
    products = []
    for number, pixels in enumerate(photos):
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        products.append(Product(id=number, category="", photos=(path,)))
    issues = quality_issues(scan_photos(products, quality=True))
    return {row: set(issues.filter(row=row)["issue"]) for row in issues["row"]}


@pytest.mark.parametrize(
    ("issue", "change"),
    [
        ("dark", lambda photo: photo // 12),
        ("light", lambda photo: 255 - photo // 60),
        ("grayscale", lambda photo: np.repeat(photo[..., :1], 3, axis=2)),
        ("odd_aspect_ratio", lambda photo: photo[:20]),
        ("odd_size", lambda photo: np.tile(photo, (9, 9, 1))),
        ("low_information", lambda photo: np.full_like(photo, 200)),
        ("blurry", lambda photo: np.linspace(0, 200, photo.size).reshape(photo.shape).astype(np.uint8)),
    ],
)
def test_finds(issue: str, change, photo: np.ndarray, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = judge(tmp_path, photo, photo[::-1], photo[:, ::-1], change(photo), photo[1:], photo[2:])
    assert issue in found[3]
    assert found.keys() == {3}


@pytest.mark.parametrize(("colour", "darker_by"), [(255, 1), (0, 1), (128, 1), (255, 12), (128, 12)])
def test_a_margin_alone_is_no_fault(
    photo: np.ndarray, colour: int, darker_by: int, tmp_path: Path
) -> None:
    """A photo on a page has the faults that it has without it."""
    whole = photo // darker_by
    page = np.full((360, 360, 3), colour, np.uint8)
    page[130:230, 130:230] = whole
    assert judge(tmp_path, page) == judge(tmp_path, whole)


def test_planted_faults_are_found(tmp_path: Path) -> None:
    config = SampleConfig(num_products=150, seed=2, size_px=64, test_share=0)
    draw_catalogue(tmp_path / "drawn", config)
    products = open_catalogue(tmp_path / "drawn").products()
    issues = quality_issues(scan_photos(products, quality=True))
    truth = pl.read_parquet(tmp_path / "drawn" / "truth.parquet")
    faults = dict(truth.select("id", "fault").rows())
    for issue, fault in (("dark", "dark"), ("odd_size", "tiny")):
        planted = {row for row, product in enumerate(products) if faults[product.id] == fault}
        assert set(issues.filter(issue=issue)["row"]) == planted
        assert planted


def test_order_and_range(photo: np.ndarray, tmp_path: Path) -> None:
    products = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(photo // (12 + number)).save(path)
        products.append(Product(id=number, category="", photos=(path,)))
    issues = quality_issues(scan_photos(products, quality=True))
    assert issues.equals(issues.sort("issue", "score", "row"))
    assert issues["score"].is_between(0, 1).all()
    assert set(issues["issue"]) <= set(ISSUES)


@pytest.mark.parametrize("num_products", [0, 1])
def test_nothing_to_judge(num_products: int) -> None:
    products = [Product(id=1, category="")] * num_products
    issues = quality_issues(scan_photos(products, quality=True))
    assert issues.is_empty()
    assert issues.columns == ["row", "issue", "score"]
