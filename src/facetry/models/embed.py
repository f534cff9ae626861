"""Products as features, of a frozen backbone or of any other encoder, each photo decoded once.

Shapes: N products, B readable ones in a batch, S side in pixels, D features.
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

from facetry.files import writing
from facetry.images import load_batches
from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.product import Pixels, Preprocess, Product
from facetry.progress import SILENT, Reporter


class Encoder(Protocol):
    """What turns photos into features to compare; `dtype` is uint8 where they are bits, packed."""

    @property
    def preprocess(self) -> Preprocess:
        """The pixel form it reads."""
        ...

    @property
    def feature_size(self) -> int:
        """D."""
        ...

    @property
    def dtype(self) -> type[np.float32] | type[np.uint8]:
        """Of the features."""
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
    """Features (N, D), float32 of a backbone, and each product's problem, "" for none.

    A product without a readable photo has the reason as its problem and features of 0.
    """

    features: NDArray[Any]
    problems: Sequence[str]

    def save(self, path: Path) -> None:
        """Write all to one file, whole or not at all."""
        metadata = {"problems": json.dumps(list(self.problems))}
        with writing(path) as draft:
            save_file({"features": self.features}, draft, metadata)

    @classmethod
    def load(cls, path: Path) -> "Embedding":
        """Read what `save` wrote."""
        with safe_open(path, framework="numpy") as file:
            problems = json.loads(file.metadata()["problems"])
            return cls(features=file.get_tensor("features"), problems=problems)


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
    """Have an encoder make features of products.

    With a `file` given the result is kept there, and taken from there where it is there already:
    whoever names it sees to it that it is of the same products and encoder.
    """
    if file and file.is_file():
        return Embedding.load(file)
    features = np.zeros((len(products), encoder.feature_size), dtype=encoder.dtype)
    problems: list[str] = []
    with reporter.bar("Embedding photos", len(products)) as advance:
        for batch in load_batches(products, [encoder.preprocess], reporter=reporter):
            readable, found = encode_batch(encoder, batch)
            features[len(problems) + readable] = found
            problems += [product.problem for product in batch]
            advance(len(batch))
    embedding = Embedding(features=features, problems=problems)
    if file:
        embedding.save(file)
    return embedding


def encode_batch(encoder: Encoder, batch: Sequence[Product]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The places of a loaded batch's readable products (B), and their features (B, D)."""
    readable = [place for place, product in enumerate(batch) if not product.problem]
    if not readable:
        return np.zeros(0, dtype=np.int64), np.zeros((0, encoder.feature_size), dtype=encoder.dtype)
    pixels = np.stack([batch[place].pixels[encoder.preprocess] for place in readable])
    return np.array(readable), encoder.encode(pixels)
