"""One pass over the photos: what it gives, and that it goes on where it stopped."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.duplicates import scan as module
from facetry.catalogue.duplicates.scan import Scan, scan_photos
from facetry.errors import WriteFailed
from facetry.images import load
from facetry.product import Product
from facetry.runtime.progress import Advance, Silent


class Counter:
    """How many files were read."""

    def __init__(self) -> None:
        self.num_read = 0

    def take(self) -> int:
        taken, self.num_read = self.num_read, 0
        return taken


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the files that scans read, ten products a chunk."""
    counter, read_file = Counter(), module.read_file

    def counting(path: Path) -> bytes:
        counter.num_read += 1
        return read_file(path)

    monkeypatch.setattr(module, "read_file", counting)
    monkeypatch.setattr(module, "CHUNK", 10)
    return counter


@pytest.fixture
def photos(tmp_path: Path) -> list[Product]:
    """35 products with a photo each, 60 x 80 px."""
    rng, folder = np.random.RandomState(0), tmp_path / "photos"
    folder.mkdir()
    products = []
    for number in range(35):
        path = folder / f"{number}.png"
        Image.fromarray(rng.randint(0, 255, (80, 60, 3)).astype(np.uint8)).save(path)
        products.append(Product(id=number, category="Kurtis", photos=(path,)))
    return products


def same(first: Scan, second: Scan) -> bool:
    pairs = [
        (getattr(first, name), getattr(second, name))
        for name in ("content", "perceptual", "signatures", "width", "height", "num_bytes")
    ]
    return first.problems == second.problems and all(np.array_equal(a, b) for a, b in pairs)


class Stop(Silent):
    """Interrupts after some items."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:  # noqa: ARG002
        def advance(count: int) -> None:
            self.left -= count
            if self.left < 0:
                raise KeyboardInterrupt

        yield advance


def test_reports_the_same_problems_as_the_loader(catalogue: Catalogue, tmp_path: Path) -> None:
    products = catalogue.products()[:20]
    for number, data in enumerate((b"", b"<html>", b"\xff\xd8\xff\xe0", None)):
        path = tmp_path / f"{number}.jpg"
        if data is not None:
            path.write_bytes(data)
        products.append(Product(id=number, category="", photos=(path,)))
    whole = products[0].photos[0].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    products.append(Product(id="cut", category="", photos=(tmp_path / "cut.jpg",)))
    scan = scan_photos(products)
    loaded = list(load(products, (), num_workers=0))
    assert scan.problems == [product.problem for product in loaded]
    assert len(set(scan.problems[20:])) >= 4
    assert scan.readable.tolist() == [row for row, each in enumerate(loaded) if not each.problem]


def test_gives_what_is_in_the_files(photos: list[Product]) -> None:
    scan = scan_photos(photos)
    data = photos[3].photos[0].read_bytes()
    assert scan.content[3] == hashlib.sha256(data).hexdigest().encode()
    assert scan.num_bytes[3] == len(data)
    assert (scan.width[3], scan.height[3]) == (60, 80)
    assert scan.signatures.dtype == np.uint8
    assert scan.perceptual.dtype == np.uint64
    assert scan.quality is None
    assert len(scan) == 35


def test_rows_without_a_photo_are_blank(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>")
    products = [
        Product(id=1, category="", photos=(tmp_path / "page.jpg",)),
        Product(id=2, category="", photos=(tmp_path / "none.jpg",)),
        Product(id=3, category=""),
        Product(id=4, category="", problem="path leaves the image folder"),
    ]
    scan = scan_photos(products, quality=True)
    assert scan.problems == [
        "not an image", "file not found", "no photo given", "path leaves the image folder",
    ]  # fmt: skip
    assert not scan.content.any()
    assert not scan.signatures.any()
    assert scan.quality is not None
    assert scan.quality["brightness"].null_count() == 4
    assert scan.readable.size == 0


def test_the_first_usable_photo_counts(photos: list[Product], tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    product = replace(photos[0], photos=(tmp_path / "empty.jpg", *photos[0].photos))
    assert same(scan_photos([product]), scan_photos(photos[:1]))


def test_no_products(tmp_path: Path) -> None:
    assert len(scan_photos([])) == len(scan_photos([], folder=tmp_path / "scan")) == 0


@pytest.mark.parametrize("quality", [False, True])
def test_a_folder_changes_nothing(photos: list[Product], tmp_path: Path, quality: bool) -> None:
    kept = scan_photos(photos, folder=tmp_path / "scan", quality=quality)
    again = scan_photos(photos, folder=tmp_path / "scan", quality=quality)
    alone = scan_photos(photos, quality=quality)
    assert same(kept, alone)
    assert same(again, alone)
    assert isinstance(again.signatures, np.memmap)
    if quality:
        assert kept.quality is not None
        assert alone.quality is not None
        assert kept.quality.equals(alone.quality)


@pytest.mark.usefixtures("reads")
def test_the_same_scan_gives_the_same_files(photos: list[Product], tmp_path: Path) -> None:
    for name in ("one", "two"):
        scan_photos(photos, folder=tmp_path / name, quality=True)
    one, two = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 5


def test_a_stopped_scan_resumes(photos: list[Product], tmp_path: Path, reads: Counter) -> None:
    with pytest.raises(KeyboardInterrupt):
        scan_photos(photos, folder=tmp_path / "scan", reporter=Stop(after=24))
    reads.take()
    scan = scan_photos(photos, folder=tmp_path / "scan")
    assert reads.take() == 15
    assert same(scan, scan_photos(photos))
    reads.take()
    scan_photos(photos, folder=tmp_path / "scan")
    assert reads.take() == 0


def test_a_changed_photo_is_read_again(photos: list[Product], tmp_path: Path, reads: Counter) -> None:
    before = scan_photos(photos, folder=tmp_path / "scan")
    Image.new("RGB", (50, 50), "red").save(photos[12].photos[0])
    reads.take()
    after = scan_photos(photos, folder=tmp_path / "scan")
    assert reads.take() == 10
    assert after.content[12] != before.content[12]
    assert same(after, scan_photos(photos))


@pytest.mark.parametrize("change", ["ids", "fewer", "quality"])
def test_other_options_start_a_new_scan(
    photos: list[Product], tmp_path: Path, reads: Counter, change: str
) -> None:
    scan_photos(photos, folder=tmp_path / "scan")
    reads.take()
    requested = {
        "ids": photos[::-1],
        "fewer": photos[:30],
        "quality": photos,
    }[change]
    scan = scan_photos(requested, folder=tmp_path / "scan", quality=change == "quality")
    assert reads.take() == len(requested)
    assert same(scan, scan_photos(requested))


def test_a_folder_that_cannot_be_written_to(photos: list[Product], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WriteFailed, match="cannot be written to") as raised:
        scan_photos(photos, folder=tmp_path / "file" / "scan")
    assert raised.value.hint


def test_a_full_disk_later_on(
    photos: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "scan"
    scan_photos(photos, folder=folder)
    (folder / "000000.parquet").unlink()
    (folder / "000000.parquet").mkdir()  # no file can take a folder's place
    monkeypatch.setattr(module, "_VERSION", 0)
    with pytest.raises(WriteFailed, match="cannot be written to"):
        scan_photos(photos, folder=folder)
