"""The classifier, a Predictor: encoders, a neck for several photos or text, and heads.

Shapes: B products, P photos of the product with most, S side in pixels, L tokens of a text, D features
of a photo, T features of a text, F features of a product, A slots, V values.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facetry.images import pad_photos, stack_pixels
from facetry.models.classifier.heads import AnyHeads, probabilities
from facetry.models.config import PhotosConfig, TextConfig
from facetry.models.towers.device import computing
from facetry.models.towers.image import Backbone
from facetry.models.towers.text import TextTower
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


class AttentionPool(nn.Module):
    """A mean of photos' features, weighted by attention with one learned query.

    The weights are the softmax over photos of q . norm(x) / sqrt(D), at first all equal.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_size)
        self.question = nn.Parameter(torch.zeros(feature_size))

    def weights(self, features: Tensor, is_photo: Tensor) -> Tensor:
        """The photos' weights (B, P), which sum to 1; 0 where `is_photo` (B, P) is False."""
        scores: Tensor = self.norm(features) @ self.question / math.sqrt(len(self.question))
        return scores.masked_fill(~is_photo, -math.inf).softmax(dim=1)

    def forward(self, features: Tensor, is_photo: Tensor) -> Tensor:
        """Pool (B, P, D) to (B, D)."""
        return (features * self.weights(features, is_photo)[..., None]).sum(dim=1)


class MeanPool(nn.Module):
    """The plain mean of photos' features."""

    def forward(self, features: Tensor, is_photo: Tensor) -> Tensor:
        """Pool (B, P, D) to (B, D)."""
        summed: Tensor = (features * is_photo[..., None]).sum(dim=1)
        return summed / is_photo.sum(dim=1, keepdim=True)


class TextFusion(nn.Module):
    """Combines text and photo features; for a product without text it uses learned text features.

    `concat` concatenates them. `gate` is x + sigmoid(W [x, t]) * (V t) for the photo's features x and
    the text's t, so that a text without new information can leave the photo's features unchanged.
    """

    def __init__(self, photo_size: int, text_size: int, config: TextConfig) -> None:
        super().__init__()
        self.drop = config.drop
        self.no_text = nn.Parameter(torch.zeros(text_size))
        is_gated = config.fusion == "gate"
        self.gate = nn.Linear(photo_size + text_size, photo_size) if is_gated else None
        self.project = nn.Linear(text_size, photo_size, bias=False) if is_gated else None
        self.feature_size = photo_size if is_gated else photo_size + text_size

    def forward(self, photos: Tensor, texts: Tensor | None) -> Tensor:
        """Features (B, F) of photos (B, D) and texts (B, T); None if no product has text."""
        if texts is None:
            texts = photos.new_zeros(len(photos), len(self.no_text))
        has_text = texts.any(dim=1)
        if self.training and self.drop:
            has_text &= torch.rand(len(texts), device=texts.device) >= self.drop
        texts = torch.where(has_text[:, None], texts, self.no_text).to(photos.dtype)
        both = torch.cat([photos, texts], dim=1)
        if self.gate is None or self.project is None:
            return both
        fused: Tensor = photos + self.gate(both).sigmoid() * self.project(texts)
        return fused


class Neck(nn.Module):
    """Pools the features of several photos, then combines them with the text's."""

    def __init__(
        self, photo_size: int, text_size: int, photos: PhotosConfig, text: TextConfig | None
    ) -> None:
        super().__init__()
        pools_by_attention = photos.pool == "attention"
        self.pool: nn.Module = AttentionPool(photo_size) if pools_by_attention else MeanPool()
        self.fusion = TextFusion(photo_size, text_size, text) if text else None
        self.feature_size = self.fusion.feature_size if self.fusion else photo_size

    def forward(
        self, features: Tensor, *, num_photos: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """Features (B, F) of a product.

        `features` are (B, D) of one photo each, or (B, P, D) with the first `num_photos` (B) valid.
        """
        if num_photos is not None:
            features = self.pool(features, are_photos(features, num_photos))
        return self.fusion(features, texts) if self.fusion else features


class Top(nn.Module):
    """A neck and heads: all that is trained if the encoders are frozen."""

    def __init__(self, neck: Neck, heads: AnyHeads) -> None:
        super().__init__()
        self.neck = neck
        self.heads = heads

    def forward(
        self,
        features: Tensor,
        categories: Tensor,
        *,
        num_photos: Tensor | None = None,
        texts: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, A, V); see `Neck` and `Heads`."""
        joined = self.neck(features, num_photos=num_photos, texts=texts)
        logits: Tensor = self.heads(joined, categories)
        return logits


def are_photos(padded: Tensor, num_photos: Tensor) -> Tensor:
    """A mask (B, P) of the first `num_photos` (B) in `padded` (B, P, ...); the rest is padding."""
    indices = torch.arange(padded.shape[1], device=padded.device)
    return indices < num_photos.to(padded.device)[:, None]


class Classifier(nn.Module):
    """Photos and categories in, logits of the category's heads out (paper, section 5.1.3).

    With a `neck` it can take several photos of a product, and with a text tower the product's text.
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
        """The categories, attributes and values that it predicts."""
        return self.heads.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The one pixel form it reads."""
        return (self.backbone.preprocess,)

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.parameters()).device

    @property
    def encoders(self) -> list[Backbone | TextTower]:
        """The backbone and, if text is read, the text tower."""
        return [self.backbone] if self.text_tower is None else [self.backbone, self.text_tower]

    @property
    def top(self) -> Top | AnyHeads:
        """The part after the encoders, which takes their features."""
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

        Several photos are (B, P, 3, S, S), of which the first `num_photos` (B) are valid. `texts` are
        tokens (B, L), all 0 for no text.
        """
        features = self._features(photos, num_photos=num_photos, texts=texts)
        logits: Tensor = self.heads(features, categories)
        return logits

    def _features(
        self, photos: Tensor, *, num_photos: Tensor | None = None, texts: Tensor | None = None
    ) -> Tensor:
        """What the heads read (B, F): a photo's features, or what the neck makes of several."""
        features = self._embed(photos, num_photos)
        if self.neck is None:
            return features
        text_features = self.text_tower(texts) if self.text_tower and texts is not None else None
        joined: Tensor = self.neck(features, num_photos=num_photos, texts=text_features)
        return joined

    @torch.no_grad()
    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch; leaves the classifier in evaluation mode."""
        return self.predict_and_embed(products)[0]

    @torch.no_grad()
    def embed(self, products: Sequence[Product]) -> NDArray[np.float32]:
        """Features (B, F) of all products as one batch, what the heads read; see `Embedder`."""
        features = self._no_features(products)
        rows = [row for row, each in enumerate(products) if not each.problem]
        if rows:
            readable = [products[row] for row in rows]
            with computing("auto", self.device):
                self.eval()
                found = self._features(self._photos(readable), **self._model_kwargs(readable))
            features[rows] = found.float().cpu().numpy()
        return features

    @torch.no_grad()
    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[np.float32]]:
        """Predictions and features (B, F) of all products as one batch; see `Embedder`."""
        codes = self.taxonomy.encode_categories([product.category for product in products])
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted, features = np.zeros(shape, dtype=np.float32), self._no_features(products)
        rows = [row for row, each in enumerate(products) if not each.problem and codes[row] >= 0]
        if rows:
            readable = [products[row] for row in rows]
            with computing("auto", self.device):
                self.eval()
                found = self._features(self._photos(readable), **self._model_kwargs(readable))
                logits = self.heads(found, torch.from_numpy(codes[rows]))
            predicted[rows] = probabilities(logits).cpu().numpy()
            features[rows] = found.float().cpu().numpy()
        return Predictions.of(self.taxonomy, products, predicted), features

    def _no_features(self, products: Sequence[Product]) -> NDArray[np.float32]:
        """Zeros (B, F)."""
        size = self.neck.feature_size if self.neck else self.backbone.feature_size
        return np.zeros((len(products), size), dtype=np.float32)

    def with_taxonomy(self, taxonomy: Taxonomy) -> "Classifier":
        """The classifier with heads for another taxonomy; heads in both keep their weights."""
        heads = self.heads.adapted(taxonomy)
        return Classifier(self.backbone, heads, neck=self.neck, text_tower=self.text_tower)

    def _embed(self, photos: Tensor, num_photos: Tensor | None) -> Tensor:
        """Features (B, D) or, for several photos, (B, P, D)."""
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

    def _model_kwargs(self, products: Sequence[Product]) -> dict[str, Tensor]:
        """The further arguments of `forward`: numbers of photos, and texts."""
        model_kwargs = {}
        spec = self.backbone.preprocess
        if spec.max_photos > 1:
            model_kwargs["num_photos"] = torch.tensor(
                [len(product.pixels[spec]) for product in products]
            )
        if self.text_tower is not None:
            tokens = self.text_tower.tokenise([product.text for product in products])
            model_kwargs["texts"] = torch.from_numpy(tokens).to(self.device)
        return model_kwargs
