"""Novelty: how unlike the photos of its category that a model learned from a product's photo is.

A model answers for any photo, even for a handbag that is sold as a T-shirt, and can be sure of it. Its
features tell: those of a photo of a kind that it has not seen are far from all that it has. The score is
the distance to the nearest photos of the same category (Sun et al. 2022, Out-of-distribution detection
with deep nearest neighbors), over the distance that nearly all other photos of that category are within.

Shapes: B products, N reference photos, D features, P components, C categories.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from facetry.errors import CalibrationError
from facetry.models.folder import NOVELTY, ModelFolder
from facetry.nearest import unit
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.documents import parse_json
from facetry.runtime.files import writing
from facetry.taxonomy import Taxonomy

FORMAT: Final = 1

NOVEL: Final = "unlike the photos of its category that the model learned from"
"""What people are told of a product that is novel."""

FLAGGED: Final = 0.02
"""The share of a category's own photos that are flagged."""

MAX_REFERENCES: Final = 1000
"""Photos of a category that others are compared with."""

NUM_NEAREST: Final = 5
MAX_COMPONENTS: Final = 128

MIN_OWN: Final = 200
"""A category with so many photos to set a threshold on has one of its own."""

_LEAST: Final = 1e-6
"""The distance that stands for 0, by which nothing can be divided."""

_LEAST_VARIED: Final = 1e-3
"""Directions that vary by less than this share of what the first one does are left out."""

_AGAIN: Final = "Calibrate the model again: facetry calibrate MODEL CATALOGUE."

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureSet:
    """Features (B, D) of products, and the indices of their categories (B)."""

    features: NDArray[Any]
    categories: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Novelty:
    """The photos that a model learned from, to compare others with.

    `mean` (D) and `components` (D, P) reduce features, `references` (N, P) are reduced ones of length 1,
    `categories` (N) their categories' indices. `thresholds` (C) are the distances above which a photo is
    novel, infinite for a category of which too little is known.
    """

    mean: Floats
    components: Floats
    references: NDArray[np.float16]
    categories: NDArray[np.int16]
    thresholds: Floats

    def scores(self, features: NDArray[Any], categories: NDArray[np.int64]) -> Floats:
        """How novel products (B) are by their features (B, D) and categories' indices (B).

        Above 1 a product is novel; 0 where nothing is known of its category.
        """
        scores = np.zeros(len(features), dtype=np.float32)
        reduced = reduce(features, self.mean, self.components)
        for category, references in self._by_category.items():
            own = categories == category
            distances = kth_distances(reduced[own], references)
            scores[own] = distances / self.thresholds[category]
        return scores

    def is_novel(self, features: NDArray[Any], categories: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether products (B) are novel, by their features (B, D) and categories' indices (B)."""
        return self.scores(features, categories) > 1

    @cached_property
    def _by_category(self) -> dict[int, Floats]:
        return {
            int(category): self.references[self.categories == category].astype(np.float32)
            for category in np.unique(self.categories)
        }

    def save(self, folder: ModelFolder) -> None:
        """Write it into the folder of its model."""
        from safetensors.numpy import save_file

        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        facts = {
            "format": FORMAT,
            "model": folder.plain_fingerprint,
            "sha256": _digest(tensors),
        }
        with writing(folder.path / NOVELTY) as draft:
            save_file(tensors, draft, {_FACTS: json.dumps(facts)})  # several come in random order

    @classmethod
    def fit(cls, known: FeatureSet, others: FeatureSet, num_categories: int) -> Self:
        """Learn from features of the training part, and set thresholds on others of known products."""
        mean, components = principal_components(known.features)
        references = FeatureSet(
            features=reduce(known.features, mean, components), categories=known.categories
        )
        reduced = reduce(others.features, mean, components)
        return cls(
            mean=mean.astype(np.float32),
            components=components.astype(np.float32),
            references=references.features.astype(np.float16),
            categories=references.categories.astype(np.int16),
            thresholds=_thresholds(
                references, FeatureSet(features=reduced, categories=others.categories), num_categories
            ),
        )


_FACTS: Final = "facts"
_TENSORS: Final = ("mean", "components", "references", "categories", "thresholds")


def read_novelty(folder: ModelFolder) -> Novelty | None:
    """What is known of the photos that a model learned from; None if nothing is.

    Raises:
        CalibrationError: a damaged file, one of a newer version, or one of another model.
    """
    path = folder.path / NOVELTY
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            facts = parse_json((file.metadata() or {}).get(_FACTS, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, ValueError, SafetensorError) as error:
        raise CalibrationError(f"{path} is damaged.", hint=_AGAIN) from error
    if not isinstance(facts, dict):
        raise CalibrationError(f"{path} is damaged.", hint=_AGAIN)
    if facts.get("format") != FORMAT:
        raise CalibrationError(
            f"{path} is of format {facts.get('format')}; this version reads {FORMAT}.", hint=_AGAIN
        )
    if facts.get("sha256") != _digest(tensors):
        raise CalibrationError(f"{path} is damaged: its checksum does not match.", hint=_AGAIN)
    if facts.get("model") != folder.plain_fingerprint:
        raise CalibrationError(f"{path} is of another model.", hint=_AGAIN)
    return Novelty(**tensors)


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class NoveltyPredictor:
    """A predictor that also says how novel products are, at the cost of one pass of its backbone."""

    plain: Embedder
    novelty: Novelty

    @property
    def taxonomy(self) -> Taxonomy:
        """That of the plain predictor."""
        return self.plain.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """Those of the plain predictor."""
        return self.plain.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict every product, in order."""
        return self.predict_and_embed(products)[0]

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of loaded products; see `predictions.Embedder`."""
        return self.plain.embed(products)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        """Predictions and features (B, D) of loaded products; see `predictions.Embedder`."""
        predictions, features = self.plain.predict_and_embed(products)
        scores = self.novelty.scores(features, predictions.category_codes)
        return predictions.with_novelty(np.where(predictions.readable, scores, 0)), features


def with_novelty(predictor: Predictor, novelty: Novelty | None) -> Predictor:
    """The predictor that says how novel products are, if that is known and it has features."""
    if novelty is None or not isinstance(predictor, Embedder):
        return predictor
    return NoveltyPredictor(plain=predictor, novelty=novelty)


def choose_references(
    categories: NDArray[np.int64], rows: NDArray[np.int64], most: int = MAX_REFERENCES
) -> NDArray[np.int64]:
    """Some of `rows`, at most `most` of each category (N), drawn at random and always the same."""
    drawn = np.random.default_rng(0).permutation(rows)
    own = [drawn[categories[drawn] == category][:most] for category in np.unique(categories[rows])]
    return np.sort(np.concatenate(own or [rows]))


def principal_components(features: NDArray[Any]) -> tuple[Doubles, Doubles]:
    """The mean (D) of features, and the directions (D, P) in which they vary most once standardised.

    Each is scaled by the root of its deviation: unscaled, photos are compared by the few directions in
    which most vary, and scaled by all of it (whitened), by noise where a category has few photos. By a
    randomised range finder (Halko et al. 2011), as D may be thousands. Directions in which hardly
    anything varies are left out, and all is computed in double precision: what is kept in single
    precision then does not depend on the order in which a processor adds.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = 1 / np.maximum(features.std(axis=0, dtype=np.float64), _LEAST)
    standardised = (features - mean) * scale
    size = min(MAX_COMPONENTS, *features.shape)
    basis = np.random.default_rng(0).normal(size=(features.shape[1], size))
    for _ in range(3):
        basis, _ = np.linalg.qr(standardised.T @ (standardised @ basis))
    _, lengths, rotation = np.linalg.svd(standardised @ basis, full_matrices=False)
    is_kept = lengths > _LEAST_VARIED * lengths[0]
    deviations = lengths[is_kept] / len(features) ** 0.5
    directions = basis @ rotation[is_kept].T
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    return mean, scale[:, None] * directions * signs / deviations**0.5


def reduce(features: NDArray[Any], mean: NDArray[np.floating], components: NDArray[np.floating]) -> Any:
    """Features (B, D) as components (B, P) of length 1, in the precision of the components."""
    return unit((features.astype(components.dtype) - mean) @ components)


def kth_distances(
    queries: NDArray[np.floating], references: NDArray[np.floating], num_nearest: int = NUM_NEAREST
) -> NDArray[np.floating]:
    """Cosine distances (B) from queries (B, P) to their k-th nearest of the references (N, P)."""
    nearest = min(num_nearest, len(references)) - 1
    distances: NDArray[np.floating] = np.partition(1 - queries @ references.T, nearest, axis=1)[
        :, nearest
    ]
    return distances


def _thresholds(references: FeatureSet, others: FeatureSet, num_categories: int) -> Floats:
    """The distances (C) above which photos are novel, from other known photos than the references.

    A category with few of these shares the threshold of all: distances are alike across categories,
    more so than in units of what is usual in each, where near copies make some categories look narrow.
    """
    distances = np.full(len(others.features), np.nan)
    known = np.unique(references.categories)
    for category in known:
        asked = others.categories == category
        own = references.features[references.categories == category]
        distances[asked] = kth_distances(others.features[asked], own)
    thresholds = np.full(num_categories, np.inf, dtype=np.float32)
    thresholds[known] = _conformal(distances[np.isfinite(distances)])
    for category in known:
        own = distances[others.categories == category]
        if len(own) >= MIN_OWN:
            thresholds[category] = _conformal(own)
    return np.maximum(thresholds, _LEAST)


def _conformal(scores: NDArray[np.floating]) -> float:
    """The score that the next one is above with a chance of at most `FLAGGED`; infinite if too few."""
    rank = ceil((1 - FLAGGED) * (len(scores) + 1))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf
