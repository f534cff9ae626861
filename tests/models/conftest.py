"""A small taxonomy with all that is odd in one, and batches over it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import (
    BackboneConfig,
    HeadsConfig,
    ImageConfig,
    PhotosConfig,
    TextConfig,
)
from facetry.product import Pixels, Product
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


def make_classifier(
    *, seed: int = 0, text: TextConfig | None = None, photos: PhotosConfig | None = None
) -> Classifier:
    """A tiny classifier over the odd taxonomy, photos at 16 px."""
    torch.manual_seed(seed)
    classifier = build_classifier(
        ODD,
        SMALL_VIT,
        HeadsConfig(hidden_dim=8),
        ImageConfig(size_px=16),
        text=text,
        photos=photos or PhotosConfig(),
    )
    randomise(classifier.heads)
    return classifier


def with_pixels(classifier: Classifier, products: Sequence[Product]) -> list[Product]:
    """The products with photos of noise, each its own."""
    (form,) = classifier.preprocesses
    shape = (3, form.size_px, form.size_px)

    def draw(row: int) -> Pixels:
        several = (1 + row % form.max_photos,) if form.max_photos > 1 else ()
        return np.random.default_rng(row).integers(0, 256, (*several, *shape), dtype=np.uint8)

    return [replace(each, pixels={form: draw(row)}) for row, each in enumerate(products)]
