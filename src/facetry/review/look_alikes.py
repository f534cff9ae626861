"""Labelled products of a review that look like a photo, by the features that were recorded of them.

Shapes: N labelled products of a category, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.nearest import Index
from facetry.review.recorder import Recorded, project
from facetry.review.reviews import Reviews
from facetry.review.store.arrangement import Arrangement
from facetry.review.store.grid import GridCell
from facetry.review.store.records import Review
from facetry.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class Query:
    """A photo to compare with: its product's category, and its features (1, D)."""

    category: str
    features: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """A labelled product, with its labels by attribute; `likeness` is the cosine of the features."""

    row: int
    product_id: str
    has_photo: bool
    likeness: float
    labels: Sequence[tuple[str, str]]


def find_look_alikes(
    reviews: Reviews, review: Review, recorded: Path, query: Query, num_nearest: int
) -> list[LookAlike]:
    """The labelled products of a category that look most like a photo.

    `recorded` is the folder of what was recorded of the review's model. There are none where the model
    gives no features.
    """
    found = _read(recorded, len(list(recorded.glob("*.npz"))))
    features = project(query.features)
    labelled = [
        (row, found.rows[product_id])
        for row, product_id in Arrangement(reviews.store.database).labelled(review, query.category)
        if found.has_features(product_id)
    ]
    if not labelled or features.shape[1] != found.features.shape[1] or not features.any():
        return []
    rows = found.features[[index for _, index in labelled]].astype(np.float32)
    centre = rows.mean(axis=0)
    distances, nearest = Index.build(rows - centre, "flat").search(features - centre, num_nearest)
    taxonomy = reviews.taxonomy(review)
    pairs = zip(nearest[0].tolist(), distances[0].tolist(), strict=True)
    return [
        _look_alike(taxonomy, reviews.grid.of_product(review, labelled[at][0]), 1 - distance)
        for at, distance in pairs
    ]


def _look_alike(taxonomy: Taxonomy, cells: Sequence[GridCell], likeness: float) -> LookAlike:
    first = cells[0]
    labels = [(each.cell.head, each.cell.label) for each in cells]
    return LookAlike(
        row=first.row,
        product_id=first.product_id,
        has_photo=first.has_photo,
        likeness=likeness,
        labels=[(taxonomy.heads[head].attribute, label) for head, label in labels if label is not None],
    )


@lru_cache(maxsize=2)
def _read(folder: Path, num_parts: int) -> Recorded:  # noqa: ARG001  # a new part is a new reading
    return Recorded.read(folder)
