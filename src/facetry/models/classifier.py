"""The classifier: a backbone and its heads, a Predictor.

Shapes: B products, S side in pixels, D features, A slots, V values.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.models.heads import Heads, probabilities
from facetry.predictions import Predictions, category_codes
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


class Classifier(nn.Module):
    """Photos and categories in, logits of the category's heads out (paper, section 5.1.3)."""

    def __init__(self, backbone: Backbone, heads: Heads) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads

    @property
    def taxonomy(self) -> Taxonomy:
        """What it predicts."""
        return self.heads.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The one pixel form it reads."""
        return (self.backbone.preprocess,)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def forward(self, photos: Tensor, categories: Tensor) -> Tensor:
        """Logits (B, A, V) of `uint8` photos (B, 3, S, S) and category indices (B)."""
        logits: Tensor = self.heads(self.backbone(photos), categories)
        return logits

    @torch.no_grad()
    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch; leaves the classifier in evaluation mode."""
        codes = category_codes(self.taxonomy, [product.category for product in products])
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        rows = [row for row, each in enumerate(products) if not each.problem and codes[row] >= 0]
        if rows:
            photos = np.stack([products[row].pixels[self.backbone.preprocess] for row in rows])
            with computing("auto", self.device):
                batch = torch.from_numpy(photos).to(self.device)
                logits = self.eval()(batch, torch.from_numpy(codes[rows]))
            predicted[rows] = probabilities(logits).cpu().numpy()
        return Predictions.of(self.taxonomy, products, predicted)

    def with_taxonomy(self, taxonomy: Taxonomy) -> "Classifier":
        """The same classifier for another taxonomy: heads that both have keep their weights."""
        return Classifier(self.backbone, self.heads.adapted(taxonomy))
