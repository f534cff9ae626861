"""Features of products, from a frozen backbone or another encoder; each photo is decoded once.

Shapes: N products, B readable ones in a batch, M their photos, P photos of a product at most, S side in
pixels, D features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from facetry.images import load_batches
from facetry.models.towers.device import computing
from facetry.models.towers.image import Backbone
from facetry.models.towers.text import TextTower
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.files import writing
from facetry.runtime.progress import SILENT, Reporter


class Encoder(Protocol):
    """Turns photos into features to compare; `dtype` is uint8 for packed bits."""

    @property
    def preprocess(self) -> Preprocess:
        """The pixel form it reads."""
        ...

    @property
    def feature_size(self) -> int:
        """D: the number of features, or of bytes of packed bits."""
        ...

    @property
    def dtype(self) -> type[np.float32] | type[np.uint8]:
        """The data type of the features."""
        ...

    def encode(self, pixels: Pixels) -> NDArray[Any]:
        """Features (B, D) of photos (B, 3, S, S)."""
        ...


@dataclass(frozen=True)
class BackboneEncoder:
    """A backbone as an encoder; leaves it in evaluation mode."""

    backbone: Backbone
    dtype = np.float32

    @property
    def preprocess(self) -> Preprocess:
        """See `Encoder`."""
        return self.backbone.preprocess

    @property
    def feature_size(self) -> int:
        """See `Encoder`."""
        return self.backbone.feature_size

    @torch.no_grad()
    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        """See `Encoder`."""
        device = self.backbone.mean.device
        with computing("auto", device):
            features: torch.Tensor = self.backbone.eval()(torch.from_numpy(pixels).to(device))
        return features.float().cpu().numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Features (N, D), and each product's problem, "" for none.

    A product without a readable photo has the reason as its problem and features of 0. If several
    photos are read, features are (N, P, D), of which the first `num_photos` (N) are valid.
    `num_skipped_photos` counts unreadable photos of products that have readable ones.
    """

    features: NDArray[Any]
    problems: Sequence[str]
    num_photos: NDArray[np.int64] | None = None
    num_skipped_photos: int = 0

    @property
    def means(self) -> NDArray[Any]:
        """Features (N, D), the mean over a product's photos."""
        if self.num_photos is None:
            return self.features
        counts = np.maximum(1, self.num_photos)[:, None].astype(self.features.dtype)
        means: NDArray[Any] = self.features.sum(axis=1) / counts
        return means

    def save(self, path: Path) -> None:
        """Write everything to one file, atomically."""
        metadata = {
            "problems": json.dumps(list(self.problems)),
            "num_passed_over": str(self.num_skipped_photos),
        }
        tensors = {"features": self.features}
        if self.num_photos is not None:
            tensors["num_photos"] = self.num_photos
        with writing(path) as draft:
            save_file(tensors, draft, metadata)

    @classmethod
    def load(cls, path: Path) -> "Embedding":
        """Read what `save` wrote."""
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata()
            return cls(
                num_skipped_photos=int(metadata.get("num_passed_over", "0")),
                problems=json.loads(metadata["problems"]),
                **{name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118 - no mapping
            )


def embed_products(
    backbone: Backbone,
    products: Sequence[Product],
    *,
    file: Path | None = None,
    reporter: Reporter = SILENT,
) -> Embedding:
    """Embed products; leaves the backbone in evaluation mode. See `encode_products` for `file`."""
    return encode_products(BackboneEncoder(backbone), products, file=file, reporter=reporter)


def encode_products(
    encoder: Encoder,
    products: Sequence[Product],
    *,
    file: Path | None = None,
    reporter: Reporter = SILENT,
) -> Embedding:
    """Encode products.

    The result is saved to `file` if given, and read from it if it exists: the caller must make sure
    that it is of the same products and encoder.
    """
    if file and file.is_file():
        return Embedding.load(file)
    spec = encoder.preprocess
    several = (spec.max_photos,) if spec.max_photos > 1 else ()
    features = np.zeros((len(products), *several, encoder.feature_size), dtype=encoder.dtype)
    num_photos = np.zeros(len(products), dtype=np.int64)
    problems: list[str] = []
    num_skipped_photos = 0
    with reporter.bar("Embedding photos", len(products)) as advance:
        for batch in load_batches(products, [spec], reporter=reporter):
            readable, found = encode_batch(encoder, batch)
            rows = len(problems) + readable
            if several:
                counts = [len(batch[index].pixels[spec]) for index in readable.tolist()]
                num_photos[rows] = counts
                features[np.repeat(rows, counts), _photo_indices(counts)] = found
            else:
                features[rows] = found
            problems += [product.problem for product in batch]
            num_skipped_photos += sum(len(product.skipped_photos) for product in batch)
            advance(len(batch))
    embedding = Embedding(
        features=features,
        problems=problems,
        num_photos=num_photos if several else None,
        num_skipped_photos=num_skipped_photos,
    )
    if file:
        embedding.save(file)
    return embedding


def encode_batch(encoder: Encoder, batch: Sequence[Product]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The indices of a loaded batch's readable products (B), and the features of their photos (M, D)."""
    readable = [index for index, product in enumerate(batch) if not product.problem]
    if not readable:
        return np.zeros(0, dtype=np.int64), np.zeros((0, encoder.feature_size), dtype=encoder.dtype)
    pixels = [batch[index].pixels[encoder.preprocess] for index in readable]
    joined = np.stack(pixels) if pixels[0].ndim == 3 else np.concatenate(pixels)
    return np.array(readable), encoder.encode(joined)


def _photo_indices(counts: Sequence[int]) -> NDArray[np.int64]:
    """Each photo's index within its product, for products with `counts` photos: 0, 1, 0, 1, 2, ..."""
    return np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, dtype=np.int64)])


def embed_texts(
    tower: TextTower, products: Sequence[Product], *, file: Path | None = None
) -> NDArray[np.float32]:
    """Features (N, D) of products' texts, 0 without text; leaves the tower in evaluation mode.

    See `encode_products` for `file`.
    """
    if file and file.is_file():
        return Embedding.load(file).features
    device = next(tower.parameters()).device
    features = np.zeros((len(products), tower.feature_size), dtype=np.float32)
    for start in range(0, len(products), _NUM_TEXTS):
        part = slice(start, start + _NUM_TEXTS)
        tokens = torch.from_numpy(tower.tokenise([product.text for product in products[part]]))
        with torch.no_grad(), computing("auto", device):
            features[part] = tower.eval()(tokens.to(device)).float().cpu().numpy()
    if file:
        Embedding(features=features, problems=()).save(file)
    return features


_NUM_TEXTS = 256
"""Texts embedded in one batch."""
