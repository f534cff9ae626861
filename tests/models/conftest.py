"""A small taxonomy with all that is odd in one, and batches over it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from facetry.models.checkpoint import build_classifier
from facetry.models.classifier import Classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.heads import Heads
from facetry.product import Product
from facetry.taxonomy import Taxonomy

NUM_FEATURES = 12

ODD = Taxonomy.of(
    {
        "Sarees": {"border": ["zari", "solid", "none at all"], "only": ["sole"], "empty": []},
        "Kurtis": {"length": ["long", "short"]},
        "Tops": {"neck": ["v", "round"], "fit": ["slim", "boxy", "flared", "straight"]},
    }
)


@dataclass(frozen=True)
class Batch:
    """Features (B, D), category indices (B), labels (B, A)."""

    features: Tensor
    categories: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def odd() -> Taxonomy:
    return ODD


@pytest.fixture
def mixed() -> Batch:
    """All categories in no order, one unknown; labels missing here and there."""
    torch.manual_seed(7)
    return Batch(
        features=torch.randn(9, NUM_FEATURES),
        categories=torch.tensor([2, 0, 1, 0, -1, 2, 0, 1, 2]),
        labels=torch.tensor(
            [
                [1, 3, -1],
                [2, 0, -1],
                [0, -1, -1],
                [-1, 0, -1],
                [-1, -1, -1],
                [-1, -1, -1],
                [0, -1, -1],
                [-1, -1, -1],
                [0, 1, -1],
            ]
        ),
    )


def randomise(heads: Heads) -> None:
    """Give every parameter, norms and biases too, numbers that differ from those it starts with."""
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


SMALL_VIT = BackboneConfig(
    name="nano_vit", weights="none", options={"layers": 1, "width": 32, "head_width": 16}
)


def make_classifier(*, seed: int = 0) -> Classifier:
    """A tiny classifier over the odd taxonomy, photos at 16 px."""
    torch.manual_seed(seed)
    image = ImageConfig(size_px=16)
    classifier = build_classifier(ODD, SMALL_VIT, HeadsConfig(hidden_dim=8), image)
    randomise(classifier.heads)
    return classifier


def with_pixels(classifier: Classifier, products: Sequence[Product]) -> list[Product]:
    """The products with photos of noise, each its own."""
    (form,) = classifier.preprocesses
    shape = (3, form.size_px, form.size_px)
    return [
        Product(
            id=each.id,
            category=each.category,
            problem=each.problem,
            pixels={form: np.random.default_rng(row).integers(0, 256, shape, dtype=np.uint8)},
        )
        for row, each in enumerate(products)
    ]
