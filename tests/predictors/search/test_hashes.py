"""Hashes of the small square distinguish photos as well as those of the whole photo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.images.decode import read_photo
from facetry.images.preprocess import preprocess
from facetry.models.config import ImageConfig
from facetry.predictors.search.config import HashName
from facetry.predictors.search.hashes import HASHES, HashEncoder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("large") / "catalogue"
    draw_catalogue(folder, SampleConfig(num_products=24, seed=3, size_px=320))
    return sorted((folder / "train_images").glob("*.jpg"))[:12]


def encode(encoder: HashEncoder, photos: list[np.ndarray]) -> np.ndarray:
    return encoder.encode(np.stack([preprocess(photo, encoder.preprocess) for photo in photos]))


def differing(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.bitwise_count(one ^ other).sum(axis=-1)


@pytest.mark.parametrize(("name", "most"), [("phash", 2), ("dhash", 2), ("whash", 4), ("colorhash", 4)])
def test_the_square_hashes_as_the_whole_photo(name: HashName, most: int, photos: list[Path]) -> None:
    pixels = [read_photo(path) for path in photos]
    squares = encode(HashEncoder.of([name], ImageConfig()), pixels)
    whole = np.stack([np.packbits(HASHES[name](Image.fromarray(each)).ravel()) for each in pixels])
    assert differing(squares, whole).max() <= most


@pytest.mark.parametrize(
    ("name", "num_bytes"), [("phash", 8), ("dhash", 8), ("whash", 8), ("colorhash", 6)]
)
def test_a_copy_is_nearer_than_another_photo(
    name: HashName, num_bytes: int, photos: list[Path], tmp_path: Path
) -> None:
    pixels = [read_photo(path) for path in photos]
    copies = []
    for place, each in enumerate(pixels):
        Image.fromarray(each).resize((200, 260)).save(tmp_path / f"{place}.jpg", quality=60)
        copies.append(read_photo(tmp_path / f"{place}.jpg"))
    encoder = HashEncoder.of([name], ImageConfig())
    originals, copied = encode(encoder, pixels), encode(encoder, copies)
    assert originals.shape == (len(photos), num_bytes)
    apart = differing(copied[:, None], originals[None])
    own = np.diagonal(apart)
    assert own.mean() < apart[~np.eye(len(photos), dtype=bool)].mean() / 3


def test_several_hashes_are_concatenated() -> None:
    encoder = HashEncoder.of(["phash", "dhash", "whash", "colorhash"], ImageConfig())
    assert encoder.feature_size == 30  # 3 x 64 bits and 42, filled up to whole bytes
    assert encoder.preprocess.resize == "squash"
    flat = np.full((2, 3, 128, 128), 255, dtype=np.uint8)
    assert np.array_equal(*encoder.encode(flat))


def test_the_recipe_may_prepare_photos_otherwise() -> None:
    encoder = HashEncoder.of(
        ["phash"], ImageConfig(size_px=64, resize="letterbox", background="grabcut")
    )
    assert encoder.preprocess.size_px == 64
    assert encoder.preprocess.background == "grabcut"
