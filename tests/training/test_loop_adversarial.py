"""Adversarial photos: how far they differ from the originals, and what stays unchanged."""

import pytest
import torch
from torch import nn

from facetry.training.loop import adversarial_photos


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(4 * 36, 5))


@pytest.fixture
def photos():
    return torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(1))


def loss_of(model):
    labels = torch.arange(6) % 5
    return lambda pixels: nn.functional.cross_entropy(model(pixels / 255), labels, reduction="sum")


@pytest.mark.parametrize("eps", [0.005, 0.02])
def test_the_loss_is_higher_and_more_so_with_eps(model, photos, eps):
    losses = [
        loss_of(model)(pixels.float()).item()
        for pixels in (
            photos,
            adversarial_photos(photos, loss_of(model), eps=eps / 2),
            adversarial_photos(photos, loss_of(model), eps=eps),
        )
    ]
    assert losses[0] < losses[1] < losses[2]


def test_no_pixel_goes_further_than_eps_or_out_of_range(model, photos):
    misled = adversarial_photos(photos, loss_of(model), eps=0.1)
    assert (misled - photos).abs().max() <= 25.5 + 1e-4
    assert misled.min() >= 0
    assert misled.max() <= 255


def test_nothing_else_changes(model, photos):
    before = photos.clone()
    misled = adversarial_photos(photos, loss_of(model), eps=0.1)
    assert photos.equal(before)
    assert not misled.requires_grad
    assert all(each.grad is None for each in model.parameters())
    kept = [torch.ones_like(each) for each in model.parameters()]
    for each, gradient in zip(model.parameters(), kept, strict=True):
        each.grad = gradient.clone()
    adversarial_photos(photos, loss_of(model), eps=0.1)
    assert all(
        each.grad.equal(gradient) for each, gradient in zip(model.parameters(), kept, strict=True)
    )


def test_photos_without_a_gradient_are_unchanged(photos):
    assert adversarial_photos(photos, lambda pixels: 0 * pixels.sum(), eps=0.1).equal(photos.float())


def test_works_on_float_photos_and_without_gradients_around(model, photos):
    with torch.no_grad():
        mixed = adversarial_photos(photos.float() * 0.5, loss_of(model), eps=0.02)
    assert mixed.equal(adversarial_photos(photos.float() * 0.5, loss_of(model), eps=0.02))
    assert mixed.dtype == torch.float32
