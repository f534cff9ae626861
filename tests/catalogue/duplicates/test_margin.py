"""The margin around what a photo shows is found, whatever its colour, and only where there is one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facetry.catalogue.duplicates.fingerprints import shrink_content
from facetry.catalogue.duplicates.margin import Box, content_box

Photo = NDArray[np.uint8]
WHITE, BLACK, PINK = (255, 255, 255), (0, 0, 0), (230, 190, 200)


def page(width: int, height: int, colour: tuple[int, int, int]) -> Photo:
    return np.full((height, width, 3), colour, np.uint8)


def scene(width: int, height: int) -> Photo:
    return np.random.RandomState(0).randint(0, 255, (height, width, 3)).astype(np.uint8)


def pasted(box: Box, colour: tuple[int, int, int] = WHITE, size: tuple[int, int] = (100, 120)) -> Photo:
    photo, (left, top, right, bottom) = page(*size, colour), box
    photo[top:bottom, left:right] = scene(right - left, bottom - top)
    return photo


@pytest.mark.parametrize("colour", [WHITE, BLACK, PINK, (128, 128, 128)])
@pytest.mark.parametrize(
    "box",
    [
        (20, 30, 60, 100),
        (0, 30, 100, 120),  # touches three edges
        (30, 0, 70, 120),  # margins at the sides only
        (0, 20, 100, 100),
        (99 - 40, 10, 99, 110),
    ],
)
def test_finds_the_content(box: Box, colour: tuple[int, int, int]) -> None:
    assert content_box(pasted(box, colour)) == box


def test_noise_and_specks_are_margin() -> None:
    photo = pasted((20, 30, 60, 100))
    noise = np.random.RandomState(1).randint(0, 8, photo.shape).astype(np.uint8)
    photo = np.where(photo == 255, photo - noise, photo)
    photo[5, 80] = 0
    assert content_box(photo) == (20, 30, 60, 100)


@pytest.mark.parametrize(
    "photo",
    [
        scene(50, 60),
        page(50, 60, WHITE),
        pasted((40, 40, 43, 43)),  # a speck
        page(1, 1, BLACK),
        np.repeat(np.linspace(0, 255, 90).astype(np.uint8), 3).reshape(1, 90, 3).repeat(70, axis=0),
    ],
    ids=["no margin", "even", "speck", "one pixel", "gradient"],
)
def test_a_photo_without_a_margin_is_whole(photo: Photo) -> None:
    height, width = photo.shape[:2]
    left, top, right, bottom = content_box(photo)
    assert (right - left, bottom - top) == pytest.approx((width, height), abs=10)


@pytest.mark.parametrize("share", [0.28, 0.5, 0.9])
def test_small_copies_show_the_content_alone(share: float) -> None:
    side = round(900 * share)
    start = (900 - side) // 2
    photo = pasted((start, start, start + side, start + side), size=(900, 900))
    small, size = shrink_content(photo)
    assert size == pytest.approx((side, side), abs=12)  # two pixels of the small copy
    assert min(small.size) >= 120
    # No page is left: what the small copy shows is as bright as the scene is on average.
    assert np.asarray(small).mean() == pytest.approx(127, abs=4)


def test_small_copies_of_photos_without_a_margin_are_as_they_were() -> None:
    small, size = shrink_content(scene(300, 260))
    assert (small.size, size) == ((150, 130), (300, 260))
