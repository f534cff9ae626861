"""What training does to a batch, and what it depends on."""

from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError

from facetry.images import Augmentation, Augmenter
from facetry.images.augment import crop_at_random, flip_at_random
from facetry.images.draws import uniform_draws

if TYPE_CHECKING:
    import torch

SIDE = 24


def batch_of(num_photos: int) -> "torch.Tensor":
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (num_photos, 3, SIDE, SIDE))
    return torch.from_numpy(pixels.astype(np.uint8))  # (B, 3, S, S)


def test_the_same_in_any_company_and_order():
    photos, augmenter = batch_of(12), Augmenter(Augmentation(), seed=3)
    together = augmenter(photos, epoch=2, indices=np.arange(12))
    shuffled = np.random.default_rng(1).permutation(12)
    for indices in (shuffled, np.array([7]), np.array([4, 4, 11])):
        part = augmenter(photos[indices], epoch=2, indices=indices)
        assert part.equal(together[indices])


@pytest.mark.parametrize(("seed", "epoch"), [(3, 1), (4, 0), (-1, 0)])
def test_another_epoch_or_seed_gives_other_pixels(seed, epoch):
    photos, indices = batch_of(12), np.arange(12)
    one = Augmenter(Augmentation(), seed=3)(photos, epoch=0, indices=indices)
    other = Augmenter(Augmentation(), seed=seed)(photos, epoch=epoch, indices=indices)
    same = [a.equal(b) for a, b in zip(one, other, strict=True)]
    assert sum(same) <= 2


def test_the_batch_given_stays_as_it_was():
    photos = batch_of(6)
    before = photos.clone()
    made = Augmenter(Augmentation(), seed=0)(photos, epoch=0, indices=np.arange(6))
    assert photos.equal(before)
    assert made.shape == photos.shape
    assert made.dtype == photos.dtype


def test_nothing_asked_changes_nothing():
    photos = batch_of(6)
    made = Augmenter(Augmentation(crop=0, flip=0), seed=0)(photos, epoch=0, indices=np.arange(6))
    assert made.equal(photos)


@pytest.mark.parametrize("wrong", [{"crop": 0.6}, {"crop": -0.1}, {"flip": 1.1}, {"flips": 0.5}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augmentation(**wrong)


@pytest.mark.parametrize("share", [0.02, 0.125, 0.5])
def test_crop_is_a_window_of_the_mirrored_photo(share):
    photos, margin = batch_of(40), round(share * SIDE)
    draws = np.random.default_rng(5).random((40, 8))
    cropped = crop_at_random(photos, draws, share=share).numpy()
    widened = np.pad(photos.numpy(), [(0, 0), (0, 0), (margin, margin), (margin, margin)], "reflect")
    for position, (row, column) in enumerate((draws[:, :2] * (2 * margin + 1)).astype(int)):
        window = widened[position, :, row : row + SIDE, column : column + SIDE]
        np.testing.assert_array_equal(cropped[position], window)


@pytest.mark.parametrize(("probability", "share_flipped"), [(0, 0), (0.5, 0.5), (1, 1)])
def test_flip(probability, share_flipped):
    photos = batch_of(400)
    draws = uniform_draws(np.arange(400), seed=0, epoch=0, purpose="flip", count=8)
    flipped = flip_at_random(photos, draws, probability=probability)
    mirrored = [a.equal(b.flip(2)) for a, b in zip(flipped, photos, strict=True)]
    kept = [a.equal(b) for a, b in zip(flipped, photos, strict=True)]
    assert sum(mirrored) + sum(kept) == 400
    assert abs(np.mean(mirrored) - share_flipped) < 0.08


def test_draws_are_uniform_and_unrelated():
    draws = uniform_draws(np.arange(20_000), seed=0, epoch=0, purpose="crop", count=4)
    others = [
        uniform_draws(np.arange(20_000), seed=1, epoch=0, purpose="crop", count=4),
        uniform_draws(np.arange(20_000), seed=0, epoch=1, purpose="crop", count=4),
        uniform_draws(np.arange(20_000), seed=0, epoch=0, purpose="flip", count=4),
    ]
    assert draws.min() >= 0
    assert draws.max() < 1
    shares = np.histogram(draws, bins=10, range=(0, 1))[0] / draws.size
    np.testing.assert_allclose(shares, 0.1, atol=0.005)
    columns = np.concatenate([draws, *others], axis=1)
    related = np.corrcoef(np.concatenate([columns[:-1], columns[1:]], axis=1).T)
    assert np.abs(related - np.eye(len(related))).max() < 0.04


def test_draws_never_change():
    """A resumed run of a newer version draws what the older one would have drawn."""
    draws = uniform_draws(np.array([0, 10**12]), seed=7, epoch=3, purpose="crop", count=2)
    expected = [[0.8917941053387666, 0.36239005988678497], [0.8767568161433755, 0.9269575730581691]]
    np.testing.assert_array_equal(draws, expected)
