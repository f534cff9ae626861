"""Decoding at a half, a quarter or an eighth of the size, if the preprocessing allows it."""

import io

import numpy as np
import pytest

from facetry.images import decode, load, load_changed, preprocess, read_photo
from facetry.product import Preprocess, Product


def jpeg(photo, **options) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("least_px", "shape"),
    [
        (None, (160, 128, 3)),
        (200, (160, 128, 3)),
        (65, (160, 128, 3)),
        (64, (80, 64, 3)),
        (33, (80, 64, 3)),
        (32, (40, 32, 3)),
        (16, (20, 16, 3)),
        (2, (20, 16, 3)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_the_smallest_scale_that_is_large_enough(draw, least_px, shape, options):
    photo = draw(128, 160)
    pixels = decode(jpeg(photo, **options), min_side_px=least_px)
    assert pixels.shape == shape
    small = np.asarray(photo.resize((shape[1], shape[0]), 4))  # the mean of the pixels that become one
    assert np.abs(pixels.astype(int) - small).mean() <= 5


def test_a_photo_on_its_side_is_turned(draw):
    exif = draw(8, 8).getexif()
    exif[0x0112] = 6
    assert decode(jpeg(draw(160, 80), exif=exif), min_side_px=40).shape == (80, 40, 3)


def test_other_formats_come_whole(draw):
    buffer = io.BytesIO()
    draw(160, 80).save(buffer, "PNG")
    assert decode(buffer.getvalue(), min_side_px=10).shape == (80, 160, 3)


@pytest.fixture
def product(draw, tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(jpeg(draw(400, 500)))
    return Product(id=1, category="Sarees", photos=(path,))


@pytest.mark.parametrize("changing", [False, True])
def test_photos_are_scaled_only_if_all_preprocesses_allow_it(product, spec, changing):
    def loaded(*specs):
        if changing:
            (((made,),),) = load_changed([product], specs, [lambda photo, _: photo])
        else:
            (made,) = load([product], specs, num_workers=0)
        return made.pixels

    scaled = spec.model_copy(update={"scaled_decoding": True})
    larger = scaled.model_copy(update={"size_px": 90})
    data = product.photos[0].read_bytes()
    whole, half, quarter = (preprocess(decode(data, min_side_px=px), spec) for px in (None, 180, 64))
    assert not np.array_equal(half, quarter)
    np.testing.assert_array_equal(loaded(spec)[spec], whole)
    np.testing.assert_array_equal(loaded(scaled)[scaled], quarter)
    np.testing.assert_array_equal(loaded(scaled, spec)[scaled], whole)
    np.testing.assert_array_equal(loaded(scaled, larger)[scaled], half)


def test_the_pixels_are_nearly_the_same(product, spec):
    scaled = spec.model_copy(update={"scaled_decoding": True})
    (made,) = load([product], [scaled], num_workers=0)
    whole = preprocess(read_photo(product.photos[0]), spec)
    assert np.abs(made.pixels[scaled].astype(int) - whole).mean() <= 2


def test_the_setting_is_stored_only_if_it_is_on():
    plain = Preprocess(size_px=32, mean=(0, 0, 0), std=(1, 1, 1))
    assert "scaled_decoding" not in plain.model_dump()
    scaled = plain.model_copy(update={"scaled_decoding": True})
    assert Preprocess.model_validate_json(scaled.model_dump_json()) == scaled
