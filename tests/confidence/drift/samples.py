"""Samples of products that a predictor has measured: drawn numbers, no photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.drift.quality import QUALITIES
from facetry.confidence.drift.sample import Sample
from facetry.product import Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        category: {
            f"attribute {index}": [f"value {value}" for value in range(3 + index)] for index in range(4)
        }
        for category in ("Kurtis", "Sarees", "Shirts")
    }
)

NUM_FEATURES = 60


def draw_sample(num_products: int, seed: int, shares: tuple[float, ...] = (0.4, 0.3, 0.3)) -> Sample:
    """Products of one kind; quality, features and confidence differ between categories."""
    rng = np.random.default_rng(seed)
    categories = rng.choice(len(shares), num_products, p=shares)
    top = np.full((num_products, TAXONOMY.num_slots), -1, dtype=np.int16)
    for slot in range(TAXONOMY.num_slots):
        top[:, slot] = rng.choice(3 + slot, num_products, p=_mix(3 + slot))
    spread = rng.normal(size=(num_products, NUM_FEATURES))
    return Sample(
        taxonomy=TAXONOMY,
        categories=categories.astype(np.int16),
        top=top,
        confidence=rng.beta(5 + categories[:, None], 2, top.shape).astype(np.float32),
        quality=(rng.normal(size=(num_products, len(QUALITIES))) + categories[:, None]).astype("f4"),
        features=(spread + 2 * categories[:, None]).astype(np.float16),
    )


def _mix(num_values: int) -> NDArray[np.float64]:
    weights = 1 / np.arange(1, num_values + 1)
    return weights / weights.sum()


def with_quality(sample: Sample, name: str, added: float) -> Sample:
    """The sample with one quality larger by so many standard deviations."""
    column = [each.name for each in QUALITIES].index(name)
    quality = sample.quality.copy()
    quality[:, column] += added
    return replace(sample, quality=quality)


def with_value(sample: Sample, category: int, slot: int, value: int, share: float) -> Sample:
    """The sample with another value predicted for a share of a category's products."""
    top = sample.top.copy()
    rows = np.flatnonzero(sample.categories == category)
    top[rows[: round(share * len(rows))], slot] = value
    return replace(sample, top=top)


def with_photos(sample: Sample, photo: Path) -> Sample:
    """The sample with products that all have the same photo."""
    products = [
        Product(id=row, category=TAXONOMY.categories[category], photos=(photo,), page="x")
        for row, category in enumerate(sample.categories)
    ]
    return replace(sample, products=products)
