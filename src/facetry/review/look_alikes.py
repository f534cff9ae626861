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
from facetry.review.prepare import recorded_folder
from facetry.review.recorder import Recorded, project
from facetry.review.reviews import Reviews
from facetry.review.store.arrangement import Arrangement
from facetry.review.store.records import Review


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """A labelled product, with its labels by attribute; `likeness` is the cosine of the features."""

    row: int
    product_id: str
    has_photo: bool
    likeness: float
    labels: Sequence[tuple[str, str]]


class LookAlikes:
    """The labelled products of one review."""

    def __init__(self, reviews: Reviews, review: Review) -> None:
        self._reviews = reviews
        self._review = review
        self._arrangement = Arrangement(reviews.store.database)

    def nearest(self, category: str, features: NDArray[Any], num_nearest: int) -> list[LookAlike]:
        """Those of a category that look most like a photo with these features (1, D).

        None where the model gives no features, or none were recorded.
        """
        folder = recorded_folder(self._reviews.data, self._review, self._reviews.model(self._review))
        recorded = _read(folder, len(list(folder.glob("*.npz"))))
        query = project(features)
        labelled = [
            (row, recorded.rows[product_id])
            for row, product_id in self._arrangement.labelled(self._review, category)
            if recorded.has_features(product_id)
        ]
        if not labelled or query.shape[1] != recorded.features.shape[1] or not query.any():
            return []
        rows = recorded.features[[index for _, index in labelled]].astype(np.float32)
        centre = rows.mean(axis=0)
        distances, found = Index.build(rows - centre, "flat").search(query - centre, num_nearest)
        pairs = zip(found[0].tolist(), distances[0].tolist(), strict=True)
        return [self._look_alike(labelled[at][0], 1 - distance) for at, distance in pairs]

    def _look_alike(self, row: int, likeness: float) -> LookAlike:
        taxonomy = self._reviews.taxonomy(self._review)
        cells = self._reviews.grid.of_product(self._review, row)
        labels = [
            (taxonomy.heads[each.cell.head].attribute, each.cell.value)
            for each in cells
            if each.cell.source in {"table", "person"} and each.cell.value is not None
        ]
        first = cells[0]
        return LookAlike(
            row=row,
            product_id=first.product_id,
            has_photo=first.has_photo,
            likeness=likeness,
            labels=labels,
        )


@lru_cache(maxsize=2)
def _read(folder: Path, num_parts: int) -> Recorded:  # noqa: ARG001  # a new part is a new reading
    return Recorded.read(folder)
