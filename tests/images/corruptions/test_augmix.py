"""AugMix: what it makes of a batch, and what it depends on."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from facetry.images.corruptions import augmix
from facetry.images.corruptions.augmix import OPERATIONS, WIDTH, Plan

SIDE = 32


@pytest.fixture
def photos(draw):
    """Sixteen photos (16, 3, S, S), no two alike."""
    drawn = np.asarray(draw(SIDE * 4, SIDE * 4))
    parts = drawn.reshape(4, SIDE, 4, SIDE, 3).transpose(0, 2, 4, 1, 3).reshape(16, 3, SIDE, SIDE)
    return torch.from_numpy(np.ascontiguousarray(parts))


@pytest.fixture
def uniforms():
    return np.random.default_rng(0).random((16, 8))


def difference(first, second):
    return (first.float() - second.float()).abs().mean().item()


def test_results_do_not_depend_on_the_rest_of_the_batch_or_its_order(photos, uniforms):
    together = augmix(photos, uniforms, strength=0.5)
    for rows in ([9], [3, 1, 2], list(range(15, -1, -1))):
        assert augmix(photos[rows], uniforms[rows], strength=0.5).equal(together[rows])


def test_shape_and_type_are_kept_and_the_given_photos_unchanged(photos, uniforms):
    before = photos.clone()
    made = augmix(photos, uniforms, strength=1.0)
    assert (made.shape, made.dtype) == (photos.shape, torch.uint8)
    assert photos.equal(before)


def test_only_the_first_draw_counts_and_each_has_its_own_mixture(photos, uniforms):
    made = augmix(photos, uniforms, strength=0.5)
    assert augmix(photos, uniforms[:, :1], strength=0.5).equal(made)
    other = augmix(photos, 1 - uniforms, strength=0.5)
    assert sum(a.equal(b) for a, b in zip(made, other, strict=True)) <= 1


def test_stronger_changes_more(photos):
    uniforms = np.random.default_rng(1).random((64, 1))
    many = photos.repeat(4, 1, 1, 1)
    changes = [difference(many, augmix(many, uniforms, strength=each)) for each in (0.1, 0.4, 1.0)]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_plans_are_as_in_the_paper():
    """Shares are Dirichlet times one minus a uniform number; lengths and operations are uniform."""
    plan = Plan.of(np.random.default_rng(2).random((20_000, 1)), 0.3)
    np.testing.assert_allclose(plan.shares.sum(axis=0), 1, rtol=1e-5)
    assert plan.shares[WIDTH].mean() == pytest.approx(0.5, abs=0.01)
    assert plan.shares[0].mean() == pytest.approx(0.5 / 3, abs=0.01)
    assert plan.shares[:WIDTH].std(axis=0).mean() > 0.05
    has_ended = (plan.chosen == -1).mean(axis=1)
    np.testing.assert_allclose(has_ended, [0, 1 / 3, 2 / 3], atol=0.01)
    counts = np.bincount(plan.chosen[0], minlength=len(OPERATIONS)) / plan.chosen[0].size
    np.testing.assert_allclose(counts, 1 / len(OPERATIONS), atol=0.005)
    assert np.abs(plan.levels).max() <= 0.3
    assert plan.levels.mean() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_operations_keep_the_shape_and_do_not_depend_on_the_batch(photos, name):
    levels = torch.linspace(-1, 1, len(photos))
    made = OPERATIONS[name](photos, levels)
    assert (made.shape, made.dtype) == (photos.shape, torch.uint8)
    assert difference(made, photos) > 0
    assert OPERATIONS[name](photos[4:5], levels[4:5]).equal(made[4:5])


@pytest.mark.parametrize(
    ("name", "level", "expected", "tolerance"),
    [
        ("autocontrast", 0.5, functional.autocontrast, 0),
        ("equalize", 0.5, functional.equalize, 0),
        ("posterize", 0.1, lambda photo: functional.posterize(photo, 4), 0),
        ("posterize", -1.0, lambda photo: functional.posterize(photo, 1), 0),
        ("solarize", 0.4, lambda photo: functional.solarize(photo, 154), 0),
        ("blur", 0.0, lambda photo: photo, 0),
        ("noise", 0.0, lambda photo: photo, 0),
        ("rotate", 0.0, lambda photo: photo, 0),
        ("shift across", 0.1875, lambda photo: torch.roll(photo, -2, dims=3), 1),
        ("shift down", -0.1875, lambda photo: torch.roll(photo, 2, dims=2), 1),
    ],
)
def test_operations_are_torchvisions(photos, name, level, expected, tolerance):
    made = OPERATIONS[name](photos, torch.full((len(photos),), level))
    inner = (..., slice(4, -4), slice(4, -4))  # not what came into sight
    assert (made[inner].int() - expected(photos)[inner].int()).abs().max() <= tolerance


def test_rotation_is_torchvisions(photos):
    made = OPERATIONS["rotate"](photos, torch.full((len(photos),), -0.5))
    turned = functional.rotate(photos, -15, interpolation=InterpolationMode.BILINEAR)
    inner = (..., slice(8, -8), slice(8, -8))
    assert (made[inner].int() - turned[inner].int()).abs().max() <= 1


def test_noise_differs_between_products(photos):
    grey = torch.full_like(photos, 128)
    made = OPERATIONS["noise"](grey, torch.linspace(0.5, 1, len(photos)))
    assert not made[0].equal(made[1])
    assert made.float().std() == pytest.approx(0.75 * 0.15 * 255, rel=0.1)
