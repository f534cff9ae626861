"""What is measured of a photo is what cleanvision measures."""

import sys

import numpy as np
import pytest
from PIL import Image

from facetry.catalogue.duplicates.scan import is_grey, make_manager, measure_quality
from facetry.errors import MissingExtra

pytest.importorskip("cleanvision")


@pytest.fixture
def photo() -> Image.Image:
    pixels = np.random.RandomState(0).randint(0, 255, (90, 70, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def test_measures_as_cleanvision_does(photo: Image.Image) -> None:
    found = measure_quality(photo, *photo.size)
    properties = make_manager().image_properties
    theirs = {k: v for each in properties.values() for k, v in each.calculate(photo).items()}
    assert found.keys() == theirs.keys()
    assert found["color_space"] == theirs.pop("color_space")
    assert {key: found[key] for key in theirs} == pytest.approx(theirs)


def test_size_and_shape_are_the_original_photos(photo: Image.Image) -> None:
    found = measure_quality(photo, 400, 100)
    assert (found["size"], found["aspect_ratio"]) == (200, 0.25)


@pytest.mark.parametrize(
    ("colour", "grey"), [((90, 90, 90), True), ((90, 95, 92), True), ((90, 110, 90), False)]
)
def test_grey_is_seen_in_the_pixels(colour: tuple[int, int, int], grey: bool) -> None:
    assert is_grey(Image.new("RGB", (20, 20), colour)) is grey


def test_a_coloured_corner_is_colour() -> None:
    photo = Image.new("RGB", (20, 20), (90, 90, 90))
    photo.paste((200, 0, 0), (0, 0, 4, 4))
    assert not is_grey(photo)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, photo: Image.Image) -> None:
    make_manager.cache_clear()
    monkeypatch.setitem(sys.modules, "cleanvision.issue_managers", None)
    with pytest.raises(MissingExtra, match=r"facetry\[audit\]"):
        measure_quality(photo, *photo.size)
