"""Similarity search as a Predictor, and its files in a model folder.

Files: `index/` with the indexes and their products, `search.json`, `preprocess.json`, and, if a
backbone's features are compared, its `weights.safetensors`.

Shapes: B products, q of them of one category, k neighbours, A slots, V values, D features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from facetry.errors import ModelFolderError
from facetry.models.classifier.serialization import load_backbone, save_preprocess, save_weights
from facetry.models.folder import PREPROCESS, WEIGHTS, ModelFolder
from facetry.models.towers.embed import BackboneEncoder, Encoder, encode_batch
from facetry.nearest import Distances, Indices, Rows, count_votes
from facetry.predictions import Predictions
from facetry.predictors.search.collection import FOLDER, Collection
from facetry.predictors.search.config import HashName, SearchConfig
from facetry.predictors.search.hashes import HashEncoder
from facetry.product import Preprocess, Product, ProductId
from facetry.runtime.documents import parse_json
from facetry.runtime.files import sha256, write_text
from facetry.taxonomy import Taxonomy

_LEAST_WEIGHT = 0.05  # of the farthest neighbour's vote, where the nearest has 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An indexed product near a photo; for `distance` see `nearest.Index`.

    `page` is the address of its page in the shop, as the table had it.
    """

    id: ProductId
    category: str
    photos: tuple[Path, ...]
    distance: float
    labels: dict[str, str]
    page: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class SimilaritySearch:
    """Indexed products, the encoder of their features, and how they vote."""

    collection: Collection
    encoder: Encoder
    config: SearchConfig
    num_neighbours: int

    @property
    def taxonomy(self) -> Taxonomy:
        """The categories, attributes and values that it predicts."""
        return self.collection.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The one pixel form it reads."""
        return (self.encoder.preprocess,)

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict by each product's neighbours' votes; without votes, by the values' frequencies."""
        return self.predict_and_embed(products)[0]

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of all products as one batch, packed bits for hashes; see `Embedder`."""
        readable, found = encode_batch(self.encoder, products)
        features = np.zeros((len(products), self.encoder.feature_size), dtype=self.encoder.dtype)
        features[readable] = found
        return features

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        """Predictions and features (B, D) of all products as one batch; see `Embedder`."""
        features = self.embed(products)
        readable = np.array([not product.problem for product in products], dtype=bool)
        codes = self.taxonomy.encode_categories([product.category for product in products])
        votes = self.vote(features, np.where(readable, codes, -1))
        return Predictions.of(self.taxonomy, products, votes), features

    def vote(
        self, features: Rows, categories: NDArray[np.int64], num_neighbours: int | None = None
    ) -> NDArray[np.float32]:
        """Probabilities (B, A, V) for features (B, D) of products with category codes (B).

        A value's probability is its share of the votes, to which its frequency in the category adds
        `config.smoothing` votes in all. It is 0 for an unknown category (-1). `num_neighbours` defaults
        to the search's.
        """
        shape = (len(features), self.taxonomy.num_slots, self.taxonomy.num_values)
        result = np.zeros(shape, dtype=np.float32)
        for category in np.unique(categories[categories >= 0]).tolist():
            own = categories == category
            distances, rows = self.collection.search(
                category, features[own], num_neighbours or self.num_neighbours
            )
            votes = self._votes(distances, rows)
            prior = self.config.smoothing * self.collection.frequencies[category]  # A V
            total = votes.sum(axis=2, keepdims=True) + self.config.smoothing
            result[own] = np.where(self.taxonomy.value_mask[category], (votes + prior) / total, 0)
        return result

    def _votes(self, distances: Distances, rows: Indices) -> NDArray[np.float64]:
        """The votes (q, A, V) of the products in `rows` (q, k); a row of -1 has none."""
        cast = np.where(rows[:, :, None] >= 0, self.collection.labels[rows], -1)  # q k A
        weights = near_weights(distances) if self.config.vote == "weighted" else None
        return np.asarray(count_votes(cast, self.taxonomy.num_values, weights), dtype=np.float64)

    def nearest(self, product: Product, num_nearest: int) -> list[Neighbour]:
        """The indexed products nearest to a loaded one: of its category, or of all if it has none."""
        _, features = encode_batch(self.encoder, [product])
        codes = self.taxonomy.category_indices
        searched = [codes[product.category]] if product.category else list(self.collection.indexes)
        found = [self.collection.search(code, features, num_nearest) for code in searched]
        distances = np.concatenate([distances[0] for distances, _ in found])
        rows = np.concatenate([rows[0] for _, rows in found])
        order = np.argsort(distances, kind="stable")[:num_nearest]
        return [self._neighbour(int(rows[at]), float(distances[at])) for at in order if rows[at] >= 0]

    def _neighbour(self, row: int, distance: float) -> Neighbour:
        record = self.collection.table.row(row, named=True)
        heads = self.taxonomy.heads_of(record["category"])
        codes = self.collection.labels[row].tolist()
        return Neighbour(
            id=record["id"],
            category=record["category"],
            photos=tuple(map(Path, record["photos"])),
            distance=distance,
            page=record["page"],
            labels={
                head.attribute: head.values[code]
                for head, code in zip(heads, codes, strict=False)
                if code >= 0
            },
        )


def near_weights(distances: Distances) -> NDArray[np.float64]:
    """The weight of each neighbour's vote (q, k), nearest first; those of a query sum to k.

    It falls linearly with the distance from the nearest to the farthest (Dudani 1976), though not to 0:
    the farthest may be the only one with a label. A neighbour at an infinite distance has weight 0.
    """
    is_finite = np.isfinite(distances)
    lengths = np.where(is_finite, distances, np.nan).astype(np.float64)
    farthest = np.nanmax(lengths, axis=1, keepdims=True, initial=0)
    spread = farthest - np.nanmin(lengths, axis=1, keepdims=True, initial=2)
    falling = np.divide(farthest - lengths, spread, out=np.ones_like(lengths), where=spread > 0)
    weights = np.where(is_finite, _LEAST_WEIGHT + falling, 0)
    scale = is_finite.sum(axis=1, keepdims=True) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(weights * scale, dtype=np.float64)


SETTINGS = "search.json"
_ENCODER_FILES = (WEIGHTS, PREPROCESS)  # the files that features depend on


class _Parts(BaseModel):
    """The part of a search's recipe that says what is compared and how neighbours vote."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hashes: tuple[HashName, ...] = ()
    search: SearchConfig = SearchConfig()


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write the encoder: preprocessing, and a backbone's weights."""
    save_preprocess(folder, encoder.preprocess)
    if isinstance(encoder, BackboneEncoder):
        save_weights(folder / WEIGHTS, encoder.backbone)


def save_search(folder: Path, search: SimilaritySearch) -> None:
    """Write the indexed products and the settings; the encoder's files must exist already."""
    search.collection.save(folder / FOLDER)
    files = [folder / name for name in _ENCODER_FILES]
    encoder = " ".join(sha256(file) for file in files if file.is_file())
    settings = {"num_neighbours": search.num_neighbours, "encoder": encoder}
    write_text(folder / SETTINGS, json.dumps(settings, indent=1))


def load_search(folder: ModelFolder, *, to_append: bool = False) -> SimilaritySearch:
    """Load a search from its model folder.

    Its indexes are memory-mapped, unless they are loaded `to_append`.

    Raises:
        ModelFolderError: a file is missing, damaged, or does not fit the others.
    """
    try:
        recipe = _Parts.model_validate(folder.recipe)
        settings = parse_json((folder.path / SETTINGS).read_text(encoding="utf-8"))
        num_neighbours, encoder_sums = int(settings["num_neighbours"]), str(settings["encoder"])
        is_same = encoder_sums == _encoder_sums(folder)
        encoder = _load_encoder(folder, recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{folder.path} cannot be loaded: {error}") from error
    collection = Collection.load(
        folder.path / FOLDER, folder.taxonomy, is_binary=bool(recipe.hashes), to_append=to_append
    )
    sizes = {index.num_columns for index in collection.indexes.values()}
    if not is_same or sizes != {encoder.feature_size}:
        raise ModelFolderError(
            f"The index in {folder.path} was built by another backbone, or with other preprocessing.",
            hint="Build it anew: `facetry train` with the folder's recipe.yaml.",
        )
    return SimilaritySearch(
        collection=collection, encoder=encoder, config=recipe.search, num_neighbours=num_neighbours
    )


def _load_encoder(folder: ModelFolder, recipe: _Parts) -> Encoder:
    """Load the encoder that `save_encoder` wrote."""
    if recipe.hashes:
        return HashEncoder(recipe.hashes, folder.preprocess)
    return BackboneEncoder(load_backbone(folder))


def _encoder_sums(folder: ModelFolder) -> str:
    """The checksums of the files that features depend on, in the format of `search.json`."""
    return " ".join(folder.checksums[name] for name in _ENCODER_FILES if name in folder.checksums)
