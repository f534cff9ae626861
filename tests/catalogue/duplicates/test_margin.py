"""The page around what a photo shows is found, whatever its colour, and only where it is wide."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facetry.catalogue.duplicates.fingerprints import shrink_content
from facetry.catalogue.duplicates.margin import Box, find_page

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


def found_box(photo: Photo) -> Box | None:
    page = find_page(photo)
    return page.box if page else None


@pytest.mark.parametrize("colour", [WHITE, BLACK, PINK, (128, 128, 128)])
@pytest.mark.parametrize("box", [(20, 30, 60, 90), (1, 1, 50, 60), (60, 10, 99, 70), (45, 30, 52, 90)])
def test_finds_what_a_wide_page_shows(box: Box, colour: tuple[int, int, int]) -> None:
    assert found_box(pasted(box, colour)) == box


def test_noise_and_specks_are_page() -> None:
    photo = pasted((20, 30, 60, 90))
    noise = np.random.RandomState(1).randint(0, 8, photo.shape).astype(np.uint8)
    photo = np.where(photo == 255, photo - noise, photo)
    photo[5, 80] = 0
    assert found_box(photo) == (20, 30, 60, 90)


def on_two_colours(photo: Photo) -> Photo:
    return np.where(np.arange(len(photo))[:, None, None] < 20, photo, photo - 40).astype(np.uint8)


@pytest.mark.parametrize(
    "photo",
    [
        scene(50, 60),
        page(50, 60, WHITE),
        pasted((40, 40, 43, 43)),
        page(1, 1, BLACK),
        np.repeat(np.linspace(0, 255, 90).astype(np.uint8), 3).reshape(1, 90, 3).repeat(70, axis=0),
        pasted((20, 30, 60, 100)),
        pasted((30, 60, 80, 120)),
        pasted((0, 30, 50, 90)),
        on_two_colours(pasted((20, 30, 60, 90))),
    ],
    ids=[
        "no page", "even", "speck", "one pixel", "gradient", "narrow margin", "touches the lower edge",
        "touches the left edge", "another floor",
    ],
)  # fmt: skip
def test_a_photo_without_a_wide_page_is_whole(photo: Photo) -> None:
    assert found_box(photo) is None
    large = photo.repeat(2, axis=0).repeat(2, axis=1)
    assert shrink_content(large)[1] == (large.shape[1], large.shape[0])


@pytest.mark.parametrize("share", [0.1, 0.28, 0.5])
def test_small_copies_show_the_content_alone(share: float) -> None:
    side = round(900 * share)
    start = (900 - side) // 2
    photo = pasted((start, start, start + side, start + side), size=(900, 900))
    small, size = shrink_content(photo)
    assert size == pytest.approx((side, side), abs=12)  # two pixels of the small copy
    assert min(small.size) >= min(side - 4, 120)
    # No page is left: what the small copy shows is as bright as the scene is on average.
    assert np.asarray(small).mean() == pytest.approx(127, abs=4)


@pytest.mark.parametrize(
    ("box", "is_cut"),
    [
        ((60, 60, 130, 160), True),
        ((80, 60, 130, 160), False),  # 50 px are too few, and the page is not most of the photo
        ((80, 80, 120, 140), True),
    ],
    ids=["large", "small", "small on a very wide page"],
)
def test_small_things_are_compared_with_their_page(box: Box, is_cut: bool) -> None:
    _, size = shrink_content(pasted(box, size=(200, 220)))
    assert size == ((box[2] - box[0], box[3] - box[1]) if is_cut else (200, 220))


def test_small_copies_of_photos_without_a_page_are_as_they_were() -> None:
    small, size = shrink_content(scene(300, 260))
    assert (small.size, size) == ((150, 130), (300, 260))
