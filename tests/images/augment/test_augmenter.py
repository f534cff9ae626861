"""What training does to a batch, what it depends on, and which labels it leaves true."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydantic import ValidationError

from facetry.errors import RecipeError
from facetry.images import Augmentation, Augmenter
from facetry.images.augment.augmenter import UNIFORMS_PER_STEP
from facetry.images.augment.config import STEPS
from facetry.images.augment.transforms import crop_at_random, flip_at_random, rotate_at_random
from facetry.runtime.rng import counter_uniforms
from facetry.taxonomy import Taxonomy

if TYPE_CHECKING:
    import torch

SIDE = 24
OFF = {"crop": 0.0, "flip": 0.0}
ON = {
    "crop": 0.125,
    "flip": 0.5,
    "rotation_deg": 20.0,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.1,
    "augmix": 0.3,
}
TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["wide", "small"], "color": ["red", "blue"]},
        "Kurtis": {"color": ["red"], "length": ["short"], "border": ["wide"]},
    }
)


def batch_of(num_photos: int) -> "torch.Tensor":
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (num_photos, 3, SIDE, SIDE))
    return torch.from_numpy(pixels.astype(np.uint8))  # (B, 3, S, S)


@pytest.mark.parametrize("config", [{}, ON, *({**OFF, name: ON[name]} for name in STEPS)])
def test_results_do_not_depend_on_the_rest_of_the_batch_or_its_order(config):
    photos, augmenter = batch_of(12), Augmenter(Augmentation(**config), seed=3)
    together = augmenter(photos, epoch=2, indices=np.arange(12))
    shuffled = np.random.default_rng(1).permutation(12)
    for indices in (shuffled, np.array([7]), np.array([4, 4, 11])):
        part = augmenter(photos[indices], epoch=2, indices=indices)
        assert part.equal(together[indices])


@pytest.mark.parametrize(("seed", "epoch"), [(3, 1), (4, 0), (-1, 0)])
@pytest.mark.parametrize("name", STEPS)
def test_another_epoch_or_seed_gives_other_pixels(name, seed, epoch):
    photos, indices = batch_of(12), np.arange(12)
    config = Augmentation(**{**OFF, name: ON[name]})
    one = Augmenter(config, seed=3)(photos, epoch=0, indices=indices)
    other = Augmenter(config, seed=seed)(photos, epoch=epoch, indices=indices)
    same = [a.equal(b) for a, b in zip(one, other, strict=True)]
    assert sum(same) <= (8 if name == "flip" else 2)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_changes_photos_of_its_own(name):
    photos, indices = batch_of(12), np.arange(12)
    without = {**ON, name: 0.0}
    made = Augmenter(Augmentation(**{**OFF, name: ON[name]}), seed=0)(photos, epoch=0, indices=indices)
    every = Augmenter(Augmentation(**ON), seed=0)(photos, epoch=0, indices=indices)
    others = Augmenter(Augmentation(**without), seed=0)(photos, epoch=0, indices=indices)
    for changed, before in ((made, photos), (every, others)):
        assert not changed.equal(before)
        assert (changed.shape, changed.dtype) == (photos.shape, photos.dtype)
        assert changed.is_contiguous()


def test_the_given_batch_is_not_changed():
    photos = batch_of(6)
    before = photos.clone()
    Augmenter(Augmentation(**ON), seed=0)(photos, epoch=0, indices=np.arange(6))
    assert photos.equal(before)


def test_without_steps_photos_are_unchanged():
    photos = batch_of(6)
    made = Augmenter(Augmentation(**OFF), seed=0)(photos, epoch=0, indices=np.arange(6))
    assert made.equal(photos)


def test_the_default_is_flip_alone():
    photos, indices = batch_of(6), np.arange(6)
    uniforms = counter_uniforms(indices, seed=5, epoch=1, purpose="flip", count=UNIFORMS_PER_STEP)
    expected = flip_at_random(photos, uniforms, 0.5)
    assert Augmenter(Augmentation(), seed=5)(photos, epoch=1, indices=indices).equal(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": 0.6},
        {"crop": -0.1},
        {"flip": 1.1},
        {"flips": 0.5},
        {"rotation_deg": 181},
        {"brightness": 1.1},
        {"contrast": -0.1},
        {"saturation": math.inf},
        {"hue": 0.6},
        {"augmix": 1.5},
        {"mixup": -1},
        {"cutmix": math.nan},
        {"changes": {"hue": "color"}},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augmentation(**wrong)


def test_an_unknown_step_is_named_with_the_nearest():
    with pytest.raises(ValidationError, match=r"called 'hues'. Did you mean 'hue'\?"):
        Augmentation(changes={"hues": ["color"]})


def test_an_unknown_attribute_is_named_with_the_nearest():
    config = Augmentation(changes={"hue": ["colour"]})
    with pytest.raises(RecipeError, match=r"(?s)augment.changes.hue .* 'colour'.*mean 'color'\?"):
        Augmenter(config, seed=0, taxonomy=TAXONOMY)


@pytest.mark.parametrize(
    "config",
    [
        ON,
        {**OFF, "changes": {"hue": ["color"]}},  # hue is off
    ],
)
def test_labels_all_stay_where_no_step_changes_any(config):
    import torch

    augmenter = Augmenter(Augmentation(**config), seed=0, taxonomy=TAXONOMY)
    assert augmenter.label_mask(epoch=0, indices=np.arange(4), categories=torch.zeros(4).long()) is None


@pytest.mark.parametrize(
    ("name", "share_kept"),
    [("crop", 0.25), ("flip", 0.5), ("rotation_deg", 0.5), ("hue", 0.5), ("augmix", 0.0)],
)
def test_a_changed_label_is_not_kept(name, share_kept):
    import torch

    config = Augmentation(**{**OFF, name: ON[name]}, changes={name: ["color"]})
    augmenter = Augmenter(config, seed=0, taxonomy=TAXONOMY)
    indices, categories = np.arange(600), torch.arange(600) % 2
    kept = augmenter.label_mask(epoch=0, indices=indices, categories=categories)
    color = kept[torch.arange(600), torch.where(categories == 0, 1, 0)]
    assert abs(color.float().mean() - share_kept) < 0.07
    others = kept.clone()
    others[torch.arange(600), torch.where(categories == 0, 1, 0)] = True
    assert others.all()
    assert kept.shape == (600, 3)
    part = np.array([30, 7, 599])
    again = augmenter.label_mask(epoch=0, indices=part, categories=categories[part])
    assert again.equal(kept[part])


def test_labels_are_dropped_by_what_was_done_to_the_photo():
    import torch

    photos, indices = batch_of(40), np.arange(40)
    config = Augmentation(crop=0, flip=0.5, changes={"flip": ["border"]})
    augmenter = Augmenter(config, seed=1, taxonomy=TAXONOMY)
    made = augmenter(photos, epoch=3, indices=indices)
    kept = augmenter.label_mask(epoch=3, indices=indices, categories=torch.zeros(40).long())
    assert kept[:, 0].tolist() == [a.equal(b) for a, b in zip(made, photos, strict=True)]


def test_several_steps_may_change_one_label():
    import torch

    every = {"hue": ["color"], "flip": ["color", "length"]}
    indices, categories = np.arange(50), torch.ones(50).long()

    def kept(changes):
        config = Augmentation(crop=0, hue=0.1, changes=changes)
        augmenter = Augmenter(config, seed=0, taxonomy=TAXONOMY)
        return augmenter.label_mask(epoch=0, indices=indices, categories=categories)

    apart = [kept({name: attributes}) for name, attributes in every.items()]
    assert kept(every).equal(apart[0] & apart[1])
    assert not apart[0].equal(apart[1])


@pytest.mark.parametrize("share", [0.02, 0.125, 0.5])
def test_crop_is_a_window_of_the_mirrored_photo(share):
    photos, margin = batch_of(40), round(share * SIDE)
    uniforms = np.random.default_rng(5).random((40, 8))
    cropped = crop_at_random(photos, uniforms, share=share).numpy()
    widened = np.pad(photos.numpy(), [(0, 0), (0, 0), (margin, margin), (margin, margin)], "reflect")
    for position, (row, column) in enumerate((uniforms[:, :2] * (2 * margin + 1)).astype(int)):
        window = widened[position, :, row : row + SIDE, column : column + SIDE]
        np.testing.assert_array_equal(cropped[position], window)


@pytest.mark.parametrize(("probability", "share_flipped"), [(0, 0), (0.5, 0.5), (1, 1)])
def test_flip(probability, share_flipped):
    photos = batch_of(400)
    uniforms = counter_uniforms(np.arange(400), seed=0, epoch=0, purpose="flip", count=8)
    flipped = flip_at_random(photos, uniforms, probability=probability)
    mirrored = [a.equal(b.flip(2)) for a, b in zip(flipped, photos, strict=True)]
    kept = [a.equal(b) for a, b in zip(flipped, photos, strict=True)]
    assert sum(mirrored) + sum(kept) == 400
    assert abs(np.mean(mirrored) - share_flipped) < 0.08


@pytest.mark.parametrize("reach_deg", [5, 45, 180])
def test_rotation_is_torchvisions_with_mirrored_corners(reach_deg):
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import rotate

    photos, uniforms = batch_of(20), np.random.default_rng(5).random((20, 8))
    turned = rotate_at_random(photos, uniforms, reach_deg).int()
    for photo, made, draw in zip(photos, turned, uniforms[:, 0], strict=True):
        angle = reach_deg * (2 * draw - 1)
        bilinear = InterpolationMode.BILINEAR
        expected = rotate(photo, angle, interpolation=bilinear).int()
        is_inside = rotate(torch.full_like(photo, 255), angle, interpolation=bilinear) == 255
        assert is_inside.float().mean() > 0.6
        assert ((made - expected).abs() * is_inside).max() <= 1
    assert turned.flatten(1).float().mean(1).min() > 110  # no black corners


@pytest.mark.parametrize(("reach_deg", "draw"), [(0, 0.3), (90, 0.5), (90, 1.0), (180, 1.0)])
def test_quarter_turns_move_pixels_only(reach_deg, draw):
    photos = batch_of(2)
    turned = rotate_at_random(photos, np.full((2, 8), draw), reach_deg)
    assert turned.equal(photos.rot90(round(reach_deg * (2 * draw - 1) / 90), (2, 3)))


def test_draws_are_uniform_and_unrelated():
    uniforms = counter_uniforms(np.arange(20_000), seed=0, epoch=0, purpose="crop", count=4)
    others = [
        counter_uniforms(np.arange(20_000), seed=1, epoch=0, purpose="crop", count=4),
        counter_uniforms(np.arange(20_000), seed=0, epoch=1, purpose="crop", count=4),
        counter_uniforms(np.arange(20_000), seed=0, epoch=0, purpose="flip", count=4),
    ]
    assert uniforms.min() >= 0
    assert uniforms.max() < 1
    shares = np.histogram(uniforms, bins=10, range=(0, 1))[0] / uniforms.size
    np.testing.assert_allclose(shares, 0.1, atol=0.005)
    columns = np.concatenate([uniforms, *others], axis=1)
    related = np.corrcoef(np.concatenate([columns[:-1], columns[1:]], axis=1).T)
    assert np.abs(related - np.eye(len(related))).max() < 0.04


def test_draws_never_change():
    """A resumed run of a newer version uniforms what the older one would have drawn."""
    uniforms = counter_uniforms(np.array([0, 10**12]), seed=7, epoch=3, purpose="crop", count=2)
    expected = [[0.8917941053387666, 0.36239005988678497], [0.8767568161433755, 0.9269575730581691]]
    np.testing.assert_array_equal(uniforms, expected)


@pytest.mark.parametrize("name", STEPS)
def test_everything_is_computed_on_the_batchs_device(name):
    """The meta device refuses to meet tensors of the CPU, and to give its numbers away."""
    import torch

    photos, indices = batch_of(6).to("meta"), np.arange(6)
    config = Augmentation(**{**OFF, name: ON[name]}, changes={name: ["color"]})
    augmenter = Augmenter(config, seed=0, taxonomy=TAXONOMY)
    made = augmenter(photos, epoch=0, indices=indices)
    assert (made.device.type, made.dtype, made.shape) == ("meta", photos.dtype, photos.shape)
    categories = torch.zeros(6, dtype=torch.int64, device="meta")
    assert augmenter.label_mask(epoch=0, indices=indices, categories=categories).device.type == "meta"
