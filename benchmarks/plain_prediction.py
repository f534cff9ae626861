"""Prediction as such scripts are usually written: what `benchmarks.engines` compares with.

Photos are opened, resized and normalised by Pillow and torchvision in the main process when their batch
is wanted; the tower is the library's own with its usual memory layout and runs eagerly; heads are a
dictionary of networks, and a loop goes over the products of the batch and their attributes.

Shapes: B products, S side in pixels, D features, V values.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.plain_training import head_key, head_network, open_photo
from facetry.models.towers.image import Backbone
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

BATCH_SIZE = 64


class PlainPrediction:
    """A script around a tower of its own, with the weights of `backbone`."""

    def __init__(self, backbone: Backbone, taxonomy: Taxonomy) -> None:
        self.tower = copy.deepcopy(backbone.tower).to(memory_format=torch.contiguous_format).eval()
        self.taxonomy = taxonomy
        heads = {head_key(head): head_network(backbone.feature_size, head) for head in taxonomy.heads}
        self.heads = nn.ModuleDict(heads).eval()
        self.transform = _transform(backbone.preprocess)

    @torch.no_grad()
    def predict(self, products: Sequence[Product], out: Path) -> None:
        """Write a Parquet file with a row for each attribute of each product."""
        rows: list[tuple[object, ...]] = []
        for start in range(0, len(products), BATCH_SIZE):
            batch = products[start : start + BATCH_SIZE]
            photos = torch.stack([self.transform(open_photo(each.photos[0])) for each in batch])
            result = self.tower(photos)
            features = result[0] if isinstance(result, tuple) else result  # B D
            for product, feature in zip(batch, features, strict=True):
                rows += self._rows(product, feature[None])
        names = ["id", "category", "attribute", "value", "confidence"]
        pl.DataFrame(rows, schema=names, orient="row").write_parquet(out)

    def _rows(self, product: Product, feature: Tensor) -> list[tuple[object, ...]]:
        """What one product's heads say of its feature (1, D)."""
        rows: list[tuple[object, ...]] = []
        for head in self.taxonomy.heads_of(product.category):
            probabilities = self.heads[head_key(head)](feature).softmax(dim=1)[0]  # V
            best = int(probabilities.argmax())
            confidence = float(probabilities[best])
            names = (product.category, head.attribute, head.values[best])
            rows.append((product.id, *names, confidence))
        return rows


def _transform(spec: Preprocess) -> transforms.Compose:
    side = spec.size_px
    return transforms.Compose(
        [
            transforms.Resize(side, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(spec.mean, spec.std),
        ]
    )
