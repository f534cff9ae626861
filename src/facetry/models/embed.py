"""Products as features of a frozen backbone, each photo decoded once.

Shapes: N products, B readable ones in a batch, S side in pixels, D features.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from facetry.files import writing
from facetry.images import load_batches
from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.product import Pixels, Product
from facetry.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Features (N, D), float32, and each product's problem, "" for none.

    A product without a readable photo has the reason as its problem and features of 0.
    """

    features: NDArray[np.float32]
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
    """Embed products; leaves the backbone in evaluation mode.

    With a `file` given the result is kept there, and taken from there where it is there already:
    whoever names it sees to it that it is of the same products and backbone.
    """
    if file and file.is_file():
        return Embedding.load(file)
    features = np.zeros((len(products), backbone.feature_size), dtype=np.float32)
    problems: list[str] = []
    backbone.eval()
    with reporter.bar("Embedding photos", len(products)) as advance:
        for batch in load_batches(products, [backbone.preprocess], reporter=reporter):
            readable = [place for place, product in enumerate(batch) if not product.problem]
            if readable:
                pixels = np.stack([batch[place].pixels[backbone.preprocess] for place in readable])
                features[len(problems) + np.array(readable)] = _embed(backbone, pixels)
            problems += [product.problem for product in batch]
            advance(len(batch))
    embedding = Embedding(features=features, problems=problems)
    if file:
        embedding.save(file)
    return embedding


@torch.no_grad()
def _embed(backbone: Backbone, pixels: Pixels) -> NDArray[np.float32]:
    """Features (B, D) of photos (B, 3, S, S)."""
    device = backbone.mean.device
    with computing("auto", device):
        features: torch.Tensor = backbone(torch.from_numpy(pixels).to(device))
    return features.float().cpu().numpy()
