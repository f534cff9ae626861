"""Classifiers of every family with weights of their own, and photos of noise for them."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.towers.image import Backbone
from facetry.product import Preprocess, Product
from tests.models.conftest import ODD, randomise, with_pixels

SMALL_HEADS = HeadsConfig(hidden_dim=8)

PRODUCTS = (
    Product(id=1, category="Kurtis"),
    Product(id=2, category="Sarees"),
    Product(id=3, category="Hats"),
    Product(id=4, category="Tops", problem="file not found"),
    Product(id=5, category="Tops"),
    Product(id=6, category="Sarees"),
    Product(id=7, category="Kurtis"),
    Product(id=8, category="Tops"),
    Product(id=9, category="Sarees"),
)
"""Of all categories and one that is not known; seven of them can be predicted."""


class Mean(nn.Module):
    """The smallest of towers: the mean of each colour."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return photos.mean(dim=(2, 3))


class Bessel(nn.Module):
    """A tower with an operator that no runtime has."""

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(photos.mean(dim=(2, 3)))


def card_classifier(card: str, **options: object) -> Classifier:
    """A classifier around a card's backbone, with answers that are far apart."""
    torch.manual_seed(0)
    backbone = BackboneConfig(name=card, weights="none", options=options)
    classifier = build_classifier(ODD, backbone, SMALL_HEADS, ImageConfig(size_px=64))
    with torch.no_grad():
        for parameter in classifier.heads.parameters():
            parameter.mul_(2)
        for name, statistic in classifier.backbone.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                statistic.add_(0.2 * torch.rand_like(statistic))
    randomise(classifier.heads)
    return classifier.eval()


def tower_classifier(tower: nn.Module) -> Classifier:
    """A classifier around a tower with three features."""
    numbers = (0.5, 0.5, 0.5)
    preprocess = Preprocess(size_px=16, mean=numbers, std=numbers)
    return Classifier(Backbone(tower, preprocess, 3), Heads(ODD, 3, SMALL_HEADS)).eval()


def drawn_products(classifier: Classifier, count: int = len(PRODUCTS)) -> list[Product]:
    """The first of `PRODUCTS`, with pixels where there is no problem."""
    products = with_pixels(classifier, PRODUCTS[:count])
    return [replace(each, pixels={}) if each.problem else each for each in products]


def noise(side: int, count: int) -> np.ndarray:
    """Photos (count, 3, side, side)."""
    return np.random.default_rng(count).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
