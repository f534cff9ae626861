"""What MixUp and CutMix make of photos and targets."""

import numpy as np
import pytest
import torch

from facetry.images import Augmentation, Mixer
from facetry.images.augment.mixing import draw_mix

NUM, SIDE = 24, 16
CATEGORIES = torch.tensor([0] * 10 + [2] * 13 + [5])[torch.randperm(NUM, generator=torch.manual_seed(1))]


def example():
    """Photos of one grey level each, and targets that are known to some."""
    levels = torch.arange(NUM) * 10
    photos = levels.to(torch.uint8)[:, None, None, None].repeat(1, 3, SIDE, SIDE)
    targets = torch.zeros(NUM, 2, NUM)
    targets[torch.arange(NUM), 0, torch.arange(NUM)] = 1.0
    targets[::2, 1, 0] = 0.5  # a known label of half the weight, for every other product
    return photos, targets


def mixed(config, *, epoch=0, progress=0.0, seed=0, categories=CATEGORIES):
    photos, targets = example()
    mixer = Mixer(Augmentation(**config), seed)
    return mixer(
        photos, targets, categories, epoch=epoch, indices=np.arange(NUM) + 40, progress=progress
    )


@pytest.mark.parametrize(
    ("config", "progress"), [({}, 0.0), ({"mixup": 0.4}, 1.0), ({"mixup": 1, "cutmix": 1}, 1.0)]
)
def test_without_mixing_nothing_changes(config, progress):
    photos, targets = example()
    mixer = Mixer(Augmentation(**config), 0)
    made = mixer(photos, targets, CATEGORIES, epoch=0, indices=np.arange(NUM), progress=progress)
    assert made[0] is photos
    assert made[1] is targets


@pytest.mark.parametrize("config", [{"mixup": 1.0}, {"cutmix": 1.0}])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_targets_have_the_shares_of_the_mixed_photos(config, epoch):
    photos, targets = mixed(config, epoch=epoch)
    assert photos.dtype == torch.uint8
    levels = photos.float().mean(dim=(1, 2, 3))
    expected = (targets[:, 0] * torch.arange(NUM) * 10).sum(dim=1)
    assert (levels - expected).abs().max() <= 0.51
    torch.testing.assert_close(targets[:, 0].sum(dim=1), torch.ones(NUM))
    assert not photos.equal(example()[0])


@pytest.mark.parametrize("config", [{"mixup": 1.0}, {"cutmix": 1.0}])
def test_partners_are_others_of_the_same_category(config):
    targets = mixed(config)[1]
    for row, target in enumerate(targets[:, 0]):
        contained = target.nonzero()[:, 0]
        assert row in contained
        assert (CATEGORIES[contained] == CATEGORIES[row]).all()
        assert target[row] >= 0.5 - 1e-3 if "mixup" in config else target[row] > 0.45
    lonely = int((CATEGORIES == 5).nonzero())
    assert targets[lonely, 0, lonely] == 1
    if "mixup" in config:
        assert all(len(target.nonzero()) == 2 for target in targets[CATEGORIES != 5, 0])


def test_a_label_of_only_one_product_has_its_share():
    targets = mixed({"mixup": 1.0})[1]
    own, partner = targets[:, 0].topk(2, dim=1).indices.unbind(1)
    knows = (torch.arange(NUM) % 2 == 0).float() * 0.5
    shares = targets[torch.arange(NUM), 0, own]
    expected = shares * knows[own] + (1 - shares) * knows[partner]
    torch.testing.assert_close(targets[:, 1].sum(dim=1), expected)


def test_cutmix_shows_a_box_of_the_partner():
    photos, targets = mixed({"cutmix": 1.0})
    for row, photo in enumerate(photos[:, 0]):
        is_other = photo != row * 10
        if is_other.any():
            rows, columns = is_other.any(1).nonzero(), is_other.any(0).nonzero()
            height, width = (int(each.max() - each.min()) + 1 for each in (rows, columns))
            assert is_other.sum() == height * width
            assert len(photo.unique()) == 2
        share = 1 - is_other.float().mean()
        assert targets[row, 0, row] == pytest.approx(float(share), abs=1e-6)


def test_a_mixture_follows_from_seed_epoch_and_rows():
    one = mixed({"mixup": 1.0, "cutmix": 1.0})
    again = mixed({"mixup": 1.0, "cutmix": 1.0})
    assert one[0].equal(again[0])
    assert one[1].equal(again[1])
    for other in ({"epoch": 1}, {"seed": 1}, {"seed": -1}):
        assert not mixed({"mixup": 1.0, "cutmix": 1.0}, **other)[1].equal(one[1])


def test_with_both_on_each_batch_is_one_or_the_other():
    def is_cut(epoch: int) -> bool:
        photos = mixed({"mixup": 1.0, "cutmix": 1.0}, epoch=epoch)[0]
        return any(len(photo.unique()) > 1 for photo in photos)

    num_cut = sum(is_cut(epoch) for epoch in range(60))
    assert 18 <= num_cut <= 42


def test_alpha_falls_with_progress():
    config = Augmentation(mixup=0.8, cutmix=0.4)
    assert Mixer(config, 0).alphas_at(0.25) == pytest.approx({"mixup": 0.6, "cutmix": 0.3})
    foreign = []
    for progress in (0.0, 0.5, 0.95, 0.999999):
        parts = [mixed({"mixup": 1.0}, epoch=each, progress=progress)[1][:, 0] for each in range(20)]
        own = torch.stack([part.diagonal() for part in parts])
        foreign.append(float(1 - own.mean()))
    assert foreign == sorted(foreign, reverse=True)
    assert foreign[0] == pytest.approx(0.25 * (NUM - 1) / NUM, abs=0.03)
    assert foreign[-1] < 1e-3


@pytest.mark.parametrize("categories", [[3], [], [0, 1, 2]])
@pytest.mark.parametrize("side_px", [None, 16])
def test_a_product_without_a_partner_is_unchanged(categories, side_px):
    codes = torch.tensor(categories, dtype=torch.int64)
    mix = draw_mix(codes, 1.0, np.random.default_rng(0), side_px=side_px)
    photos = torch.arange(len(codes) * 3 * 16 * 16).view(-1, 3, 16, 16).to(torch.uint8)
    targets = torch.rand(len(codes), 2, 3)
    assert mix.pixels(photos).equal(photos)
    assert mix.targets(targets).equal(targets)


def test_every_partner_is_as_likely():
    counts = torch.zeros(5, 5)
    random = np.random.default_rng(0)
    for _ in range(2000):
        mix = draw_mix(torch.zeros(5).long(), 1.0, random)
        counts[torch.arange(5), mix.partners] += 1
    assert counts.diagonal().sum() == 0
    others = counts[~torch.eye(5).bool()] / 2000
    assert (others - 0.25).abs().max() < 0.04


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_everything_is_computed_on_the_batchs_device(kind):
    """The meta device refuses to meet tensors of the CPU, and to give its numbers away."""
    photos, targets = (each.to("meta") for each in example())
    mixer = Mixer(Augmentation(**{kind: 1.0}), 0)
    for categories in (CATEGORIES, CATEGORIES.to("meta")):
        made = mixer(photos, targets, categories, epoch=0, indices=np.arange(NUM), progress=0.5)
        assert [each.device.type for each in made] == ["meta", "meta"]
        assert (made[0].dtype, made[0].shape) == (photos.dtype, photos.shape)
        assert (made[1].dtype, made[1].shape) == (targets.dtype, targets.shape)
