"""Photos with flipped bits or without their end: what Pillow refuses to load whole is never a photo."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageFile

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.duplicates.scan import scan_photos
from facetry.errors import ImageError
from facetry.images import decode, load
from facetry.images.formats import ALLOWED_FORMATS
from facetry.product import Preprocess, Product

NUM_DAMAGED = 60  # of each kind

KINDS = {
    "jpeg": ("JPEG", {}),
    "jpeg with EXIF": ("JPEG", {"exif": b"Exif\0\0II*\0\x08\0\0\0" + bytes(6)}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "avif": ("AVIF", {}),
}


@dataclass(frozen=True)
class Damaged:
    """A damaged file, and whether Pillow loads it whole."""

    name: str
    data: bytes
    is_whole: bool


def damaged(data: bytes, seed: int) -> bytes:
    """The file with one bit flipped, or cut anywhere."""
    random = np.random.default_rng(seed)
    place = int(random.integers(1, len(data)))
    if seed % 3 == 0:
        return data[:place]
    changed = bytearray(data)
    changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def loads_whole(data: bytes) -> bool:
    """Whether Pillow loads the file, asked nothing before."""
    try:
        Image.open(io.BytesIO(data), formats=ALLOWED_FORMATS).load()
    except Exception:  # noqa: BLE001 - whatever its parsers raise
        return False
    return True


def is_decoded(data: bytes, min_side_px: int | None) -> bool:
    try:
        decode(data, min_side_px=min_side_px)
    except ImageError:
        return False
    return True


@pytest.fixture(scope="module")
def corpus(draw: Callable[[int, int], Image.Image]) -> list[Damaged]:
    made = []
    for name, (image_format, options) in KINDS.items():
        file = io.BytesIO()
        draw(61, 80).save(file, image_format, **options)
        for seed in range(NUM_DAMAGED):
            data = damaged(file.getvalue(), seed)
            made.append(Damaged(f"{name} {seed}", data, loads_whole(data)))
    return made


@pytest.fixture(scope="module")
def folder(corpus: list[Damaged], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue of the damaged photos, each under its number."""
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "images").mkdir()
    for number, each in enumerate(corpus):
        (folder / "images" / f"{number:06d}.jpg").write_bytes(each.data)
    ids = pl.DataFrame({"id": range(len(corpus))})
    ids.with_columns(Category=pl.lit("Sarees"), attr_1=pl.lit("red")).write_csv(folder / "train.csv")
    return folder


def test_most_of_a_damaged_format_is_refused_and_some_is_not(corpus: list[Damaged]) -> None:
    refused = sum(not each.is_whole for each in corpus)
    assert len(corpus) / 4 < refused < len(corpus) * 3 / 4


@pytest.mark.parametrize("min_side_px", [None, 16])
def test_what_does_not_load_whole_is_not_decoded(corpus: list[Damaged], min_side_px: int | None) -> None:
    for each in corpus:
        assert each.is_whole or not is_decoded(each.data, min_side_px), each.name


def test_what_does_not_load_whole_is_not_loaded(folder: Path, corpus: list[Damaged], spec: Preprocess):
    photos = [folder / "images" / f"{number:06d}.jpg" for number in range(len(corpus))]
    products = [Product(id=str(each), category="Sarees", photos=(each,)) for each in photos]
    for each, product in zip(corpus, load(products, (spec,), num_workers=2), strict=True):
        assert each.is_whole or product.problem, each.name
        assert bool(product.pixels) != bool(product.problem), each.name


def test_what_does_not_load_whole_passes_neither_check_nor_scan(
    folder: Path, corpus: list[Damaged]
) -> None:
    wanted = {number for number, each in enumerate(corpus) if not each.is_whole}
    findings = check_catalogue(folder, images=folder / "images", photos="open").findings
    found = findings.filter(pl.col("problem").cast(pl.String).str.starts_with("photo"))
    assert wanted <= set(found["id"].cast(pl.Int64))
    scanned = scan_photos(open_catalogue(folder, images=folder / "images").products())
    assert wanted <= {number for number, problem in enumerate(scanned.problems) if problem}


def test_a_sound_jpeg_is_not_decoded_by_pillow(draw, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    draw(61, 80).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6))

    def refuse(_: object) -> None:
        pytest.fail("Pillow decodes")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert decode(file.getvalue()).shape == (80, 61, 3)
