"""Keeps what a review needs of predictions beyond their rows: how unsure they are, and features.

Shapes: B products, A slots, V values, D features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.errors import ExportError
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.files import writing
from facetry.taxonomy import Taxonomy

NUM_FEATURES: Final = 512
"""Features that are kept of each product: 100 MB of a hundred thousand products."""

_FORM: Final = "{:06}.npz"


def project(features: NDArray[Any]) -> NDArray[np.float16]:
    """Features (B, D) as they are kept: of more than `NUM_FEATURES`, so many random projections.

    The same ones always. A cosine c is kept within about (1 - c ** 2) / sqrt(`NUM_FEATURES`) (Johnson
    and Lindenstrauss 1984), so that near neighbours stay near.
    """
    size = features.shape[1]
    if size > NUM_FEATURES:
        features = features.astype(np.float32) @ _projection(size)
    return features.astype(np.float16)


@cache
def _projection(size: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).standard_normal((size, NUM_FEATURES), dtype=np.float32)
    return drawn / np.float32(np.sqrt(NUM_FEATURES))


@dataclass(frozen=True, kw_only=True, eq=False)
class Unsure:
    """How unsure predictions (B, A) are, 0 to 1; 0 where there is none.

    `of_label` is the probability of the label that the product has, NaN where it has none.

    `margin` is 1 less what the most probable value is ahead of the next, `entropy` the share of the
    most that the head's could be.
    """

    margin: NDArray[np.float32]
    entropy: NDArray[np.float32]
    of_label: NDArray[np.float32]

    @classmethod
    def of(cls, predictions: Predictions, products: Sequence[Product]) -> "Unsure":
        """That of the predictions of some products."""
        chances = np.sort(predictions.probabilities, axis=2)[:, :, ::-1]  # B A V
        second = chances[:, :, 1] if chances.shape[2] > 1 else np.zeros_like(chances[:, :, 0])
        num_values = predictions.value_mask.sum(axis=2)
        most = np.log(np.maximum(num_values, 2))
        entropy = -(chances * np.log(np.maximum(chances, 1e-12))).sum(axis=2) / most
        is_choice = predictions.head_mask & (num_values > 1)
        margin = np.where(is_choice, 1 - (chances[:, :, 0] - second), 0)
        return cls(
            margin=margin.astype(np.float32),
            entropy=np.where(is_choice, entropy, 0).astype(np.float32),
            of_label=_of_label(predictions, products),
        )


def _of_label(predictions: Predictions, products: Sequence[Product]) -> NDArray[np.float32]:
    """The probability of each product's own labels (B, A), NaN where it has none."""
    labels = predictions.taxonomy.encode_labels(products)
    is_known = (labels >= 0) & (labels < predictions.probabilities.shape[2]) & predictions.head_mask
    codes = np.where(is_known, labels, 0)[..., None]
    chances = np.take_along_axis(predictions.probabilities, codes, axis=2)[..., 0]
    return np.where(is_known, chances, np.nan).astype(np.float32)


def predict_and_embed(
    predictor: Predictor, products: Sequence[Product]
) -> tuple[Predictions, NDArray[Any]]:
    """Predictions and features (B, D); D is 0 for a predictor that gives none.

    Exports that older versions made give none either, and say so only when they are asked.
    """
    nothing = np.zeros((len(products), 0), dtype=np.float16)
    if not isinstance(predictor, Embedder):
        return predictor.predict(products), nothing
    try:
        return predictor.predict_and_embed(products)
    except ExportError:
        return predictor.predict(products), nothing


class Recorder:
    """A predictor that also writes how unsure it is, and features if it has them, into a folder.

    A product that is predicted again is there twice; the later one counts.
    """

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._predictor = predictor
        self._folder = folder
        self._count = len(list(folder.glob("*.npz")))

    @property
    def taxonomy(self) -> Taxonomy:
        """That of the predictor."""
        return self._predictor.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """Those of the predictor."""
        return self._predictor.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict, and write the rest down."""
        predictions, found = predict_and_embed(self._predictor, products)
        features = project(found)
        unsure = Unsure.of(predictions, products)
        with writing(self._folder / _FORM.format(self._count)) as draft, draft.open("wb") as file:
            np.savez(
                file,
                ids=np.array([str(each.id) for each in products]),
                margin=unsure.margin,
                entropy=unsure.entropy,
                of_label=unsure.of_label,
                features=features,
            )
        self._count += 1
        return predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class Recorded:
    """What was written down, by product: a row of the arrays for each id."""

    rows: dict[str, int]
    unsure: Unsure
    features: NDArray[np.float16]

    @cached_property
    def _is_seen(self) -> NDArray[np.bool_]:
        return np.asarray(self.features.any(axis=1) & np.isfinite(self.features).all(axis=1))

    def has_features(self, product_id: str) -> bool:
        """Whether there are features of a product: photos that cannot be read have none."""
        row = self.rows.get(product_id)
        return row is not None and bool(self._is_seen[row])

    @classmethod
    def read(cls, folder: Path) -> "Recorded":
        """All of a folder; nothing of one that has nothing."""
        parts = list(_parts(folder)) or [_NOTHING]
        ids = [each for part in parts for each in part["ids"].tolist()]
        return cls(
            rows={each: index for index, each in enumerate(ids)},
            unsure=Unsure(
                margin=np.concatenate([part["margin"] for part in parts]),
                entropy=np.concatenate([part["entropy"] for part in parts]),
                of_label=np.concatenate([part["of_label"] for part in parts]),
            ),
            features=np.concatenate([part["features"] for part in parts]),
        )


_NOTHING: Final = {
    "ids": np.empty(0, dtype=str),
    "margin": np.empty((0, 0), dtype=np.float32),
    "entropy": np.empty((0, 0), dtype=np.float32),
    "of_label": np.empty((0, 0), dtype=np.float32),
    "features": np.empty((0, 0), dtype=np.float16),
}


def _parts(folder: Path) -> Iterator[dict[str, NDArray[np.generic]]]:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as content:
            yield dict(content)
