"""Hashes and signatures: the same for the same photo, near for its copies."""

import hashlib
import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from facetry.catalogue.duplicates.fingerprints import (
    SIGNATURE_PX,
    content_hash,
    perceptual_hash,
    shrink,
    signature,
)
from facetry.demo.garments.photo import PhotoBrief, draw_photo
from facetry.images.decode import decode


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    facts = {"color": "black", "neck": "round", "pattern": "solid", "print_or_pattern_type": "solid"}
    facts |= {"sleeve_length": "short sleeves"}
    brief = PhotoBrief(category="Men Tshirts", values=facts, seed=1, number=1, size_px=200, boxed=True)
    return draw_photo(brief)


def saved(photo: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return Image.fromarray(decode(buffer.getvalue()))


def test_content_is_the_files() -> None:
    assert content_hash(b"photo") == hashlib.sha256(b"photo").hexdigest()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((50, 80), (50, 80)),
        ((255, 300), (255, 300)),
        ((256, 400), (128, 200)),
        ((900, 1000), (129, 143)),
    ],
)
def test_small_copies(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink(np.zeros((size[1], size[0], 3), np.uint8)).size == expected


def test_perceptual_hash_is_imagehashs(photo: Image.Image) -> None:
    bits = imagehash.phash(photo).hash.ravel()
    assert f"{perceptual_hash(photo):064b}" == "".join("1" if bit else "0" for bit in bits)


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_copies_hash_alike(photo: Image.Image, gain: float) -> None:
    copy = saved(ImageEnhance.Brightness(photo).enhance(gain), 60)
    assert (perceptual_hash(photo) ^ perceptual_hash(copy)).bit_count() <= 4


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (24, 30), (400, 500)])
def test_signatures_of_any_size(size: tuple[int, int]) -> None:
    small = signature(Image.new("RGB", size, (10, 20, 30)))
    assert small.shape == (SIGNATURE_PX, SIGNATURE_PX, 3)
    assert (small == (10, 20, 30)).all()
