"""Copies are near their originals after any small crop and gain; other photos are not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from facetry.catalogue.duplicates.fingerprints import difference, signature

NEAR = 1.2


def scene(seed: int) -> Image.Image:
    """A smooth picture with edges, 200 x 240 px."""
    rng = np.random.RandomState(seed)
    coarse = Image.fromarray(rng.randint(30, 210, (9, 8, 3)).astype(np.uint8))
    picture = np.array(coarse.resize((200, 240), Image.Resampling.BICUBIC))
    for _ in range(4):
        x, y = rng.randint(20, 150), rng.randint(20, 190)
        picture[y : y + 30, x : x + 25] = rng.randint(0, 255, 3)
    return Image.fromarray(picture)


def pair(left: Image.Image, right: Image.Image) -> float:
    first, second = (signature(each)[None] for each in (left, right))
    return float(difference(first, second)[0])


def crop(photo: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = photo.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    return photo.crop(tuple(round(each) for each in box))


def test_a_photo_is_itself() -> None:
    assert pair(scene(0), scene(0)) < 1e-3


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.1])
@pytest.mark.parametrize(
    "edges",
    [
        (0.01, 0.01, 0.01, 0.01),
        (0.04, 0.04, 0.04, 0.04),
        (0.04, 0.01, 0.01, 0.04),
        (0.0, 0.04, 0.04, 0.0),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_crops_are_near_in_both_directions(
    edges: tuple[float, float, float, float], gain: float, seed: int
) -> None:
    photo = scene(seed)
    copy = ImageEnhance.Brightness(crop(photo, *edges)).enhance(gain)
    assert pair(photo, copy) < NEAR
    assert pair(copy, photo) < NEAR


def test_other_photos_are_far() -> None:
    photos = np.stack([signature(scene(seed)) for seed in range(12)])
    left, right = np.triu_indices(12, 1)
    assert (difference(photos[left], photos[right]) > 2 * NEAR).all()


def painted(photo: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    changed = photo.copy()
    changed.paste(colour, (60, 60, 140, 170))
    return changed


@pytest.mark.parametrize(
    ("first", "second"),
    [((200, 40, 40), (40, 40, 200)), ((90, 90, 90), (130, 90, 90)), ((0, 0, 0), (40, 40, 40))],
)
def test_another_colour_of_the_same_thing_is_far(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    assert pair(painted(scene(4), first), painted(scene(4), second)) > NEAR


@pytest.mark.parametrize("edges", [(0.25, 0.0, 0.0, 0.25), (0.12, 0.12, 0.12, 0.12)])
def test_large_crops_are_other_photos(edges: tuple[float, float, float, float]) -> None:
    assert pair(scene(5), crop(scene(5), *edges)) > NEAR


@pytest.mark.parametrize("level", [0, 128, 255])
def test_even_photos_do_not_fail(level: int) -> None:
    even: NDArray[np.uint8] = np.full((2, 32, 32, 3), level, np.uint8)
    assert (difference(even, even) == 0).all()
    assert np.isfinite(difference(even, even)).all()


def test_no_pairs() -> None:
    none = np.empty((0, 32, 32, 3), np.uint8)
    assert difference(none, none).shape == (0,)
