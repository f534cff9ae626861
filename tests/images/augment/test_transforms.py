"""Colour jitter is torchvision's, with a factor for each product."""

import numpy as np
import pytest
from torchvision.transforms.v2 import functional

from facetry.images.augment.transforms import (
    jitter_brightness,
    jitter_contrast,
    jitter_hue,
    jitter_saturation,
)

FACTORS = [0.0, 0.1, 0.37, 0.5, 0.73, 0.9, 0.999]
"""Uniforms: 0.5 changes nothing."""


def photos_of(kind: str):
    import torch

    random = np.random.default_rng(4)
    shape = (len(FACTORS), 3, 40, 40)
    pixels = {
        "noise": random.integers(0, 256, shape),
        "dull": random.integers(120, 124, shape),
        "grey": np.repeat(random.integers(0, 256, (len(FACTORS), 1, 40, 40)), 3, axis=1),
        "primary": random.choice([0, 255], shape),
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
    }[kind]
    return torch.from_numpy(pixels.astype(np.uint8))


@pytest.mark.parametrize("kind", ["noise", "dull", "grey", "primary", "black", "white"])
@pytest.mark.parametrize(
    ("jitter", "reference", "reach"),
    [
        (jitter_brightness, functional.adjust_brightness, 0.4),
        (jitter_brightness, functional.adjust_brightness, 1.0),
        (jitter_contrast, functional.adjust_contrast, 0.8),
        (jitter_saturation, functional.adjust_saturation, 0.8),
        (jitter_saturation, functional.adjust_saturation, 1.0),
    ],
)
def test_factors_are_torchvisions(jitter, reference, reach, kind):
    photos, uniforms = photos_of(kind), np.array(FACTORS)[:, None]
    made = jitter(photos, uniforms, reach)
    assert made.dtype == photos.dtype
    for photo, each, draw in zip(photos, made, FACTORS, strict=True):
        expected = reference(photo, 1 + reach * (2 * draw - 1))
        assert (each.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("kind", ["noise", "dull", "grey", "primary", "black", "white"])
@pytest.mark.parametrize("reach", [0.1, 0.5])
def test_hue_is_torchvisions(reach, kind):
    photos, uniforms = photos_of(kind), np.array(FACTORS)[:, None]
    made = jitter_hue(photos, uniforms, reach)
    for photo, each, draw in zip(photos, made, FACTORS, strict=True):
        expected = functional.adjust_hue(photo, reach * (2 * draw - 1))
        assert (each.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("jitter", [jitter_brightness, jitter_contrast, jitter_saturation, jitter_hue])
def test_a_draw_in_the_middle_changes_nothing(jitter):
    photos = photos_of("noise")
    made = jitter(photos, np.full((len(photos), 1), 0.5), 0.5)
    assert (made.int() - photos.int()).abs().max() == 0


def test_a_third_of_the_circle_exchanges_the_channels():
    photos = photos_of("noise")
    third = np.full((len(photos), 1), 0.5 + 1 / 3)
    assert jitter_hue(photos, third, 0.5).equal(photos.roll(1, dims=1))
