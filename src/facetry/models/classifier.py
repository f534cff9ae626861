"""The classifier: encoders, a neck where there is something to join, and heads; a Predictor.

Shapes: B products, P photos of the one that has most, S side in pixels, L tokens of a text, D features,
A slots, V values.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from facetry.images import pad_photos, stack_pixels
from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.models.heads import probabilities
from facetry.models.neck import Neck, Top, are_photos
from facetry.models.shared_heads import AnyHeads
from facetry.models.text import TextTower
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


class Classifier(nn.Module):
    """Photos and categories in, logits of the category's heads out (paper, section 5.1.3).

    With a `neck` it takes several photos of a product, with a text tower the product's text as well.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: AnyHeads,
        *,
        neck: Neck | None = None,
        text_tower: TextTower | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.text_tower = text_tower
        self.neck = neck
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

    @property
    def encoders(self) -> list[Backbone | TextTower]:
        """What turns photos and, where text is read, tokens into features."""
        return [self.backbone] if self.text_tower is None else [self.backbone, self.text_tower]

    @property
    def top(self) -> Top | AnyHeads:
        """What is above the encoders, and takes their features in place of photos and tokens."""
        return Top(self.neck, self.heads) if self.neck else self.heads

    def forward(
        self,
        photos: Tensor,
        categories: Tensor,
        *,
        num_photos: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, A, V) of `uint8` photos (B, 3, S, S) and category indices (B).

        Several photos are (B, P, 3, S, S), of which the first `num_photos` (B) are there. `texts` are
        tokens (B, L), all 0 for no text.
        """
        features = self._embed(photos, num_photos)
        if self.neck is not None:
            told = self.text_tower(texts) if self.text_tower and texts is not None else None
            features = self.neck(features, num_photos=num_photos, texts=told)
        logits: Tensor = self.heads(features, categories)
        return logits

    @torch.no_grad()
    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch; leaves the classifier in evaluation mode."""
        codes = self.taxonomy.encode_categories([product.category for product in products])
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        rows = [row for row, each in enumerate(products) if not each.problem and codes[row] >= 0]
        if rows:
            readable = [products[row] for row in rows]
            with computing("auto", self.device):
                logits = self.eval()(
                    self._photos(readable), torch.from_numpy(codes[rows]), **self._beside(readable)
                )
            predicted[rows] = probabilities(logits).cpu().numpy()
        return Predictions.of(self.taxonomy, products, predicted)

    def with_taxonomy(self, taxonomy: Taxonomy) -> "Classifier":
        """The same classifier for another taxonomy: heads that both have keep their weights."""
        heads = self.heads.adapted(taxonomy)
        return Classifier(self.backbone, heads, neck=self.neck, text_tower=self.text_tower)

    def _embed(self, photos: Tensor, num_photos: Tensor | None) -> Tensor:
        """Features (B, D) or, of several photos, (B, P, D)."""
        if num_photos is None:
            one_each: Tensor = self.backbone(photos)
            return one_each
        is_photo = are_photos(photos, num_photos)
        found = self.backbone(photos[is_photo])
        features: Tensor = found.new_zeros(*is_photo.shape, found.shape[1])
        features[is_photo] = found
        return features

    def _photos(self, products: Sequence[Product]) -> Tensor:
        spec = self.backbone.preprocess
        if spec.max_photos == 1:
            batch = stack_pixels(products, spec)
        else:
            batch = pad_photos([product.pixels[spec] for product in products])
        return torch.from_numpy(batch).to(self.device)

    def _beside(self, products: Sequence[Product]) -> dict[str, Tensor]:
        """What goes in beside the photos."""
        beside = {}
        spec = self.backbone.preprocess
        if spec.max_photos > 1:
            beside["num_photos"] = torch.tensor([len(product.pixels[spec]) for product in products])
        if self.text_tower is not None:
            tokens = self.text_tower.tokenise([product.text for product in products])
            beside["texts"] = torch.from_numpy(tokens).to(self.device)
        return beside
