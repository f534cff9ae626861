"""A small taxonomy with all that is odd in one, and batches over it."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from facetry.models.heads import Heads
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
