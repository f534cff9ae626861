"""What comes between encoders and heads: several photos' features become one, and text joins them.

Shapes: B products, P photos, D features of a photo, T features of a text, F features of a product.
"""

import math

import torch
from torch import Tensor, nn

from facetry.models.config import PhotosConfig, TextConfig
from facetry.models.shared_heads import AnyHeads


class AttentionPool(nn.Module):
    """The mean of photos' features, weighted by how well each answers a learned question.

    Formula: softmax over photos of q . norm(x) / sqrt(D). It begins as the plain mean.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_size)
        self.question = nn.Parameter(torch.zeros(feature_size))

    def weights(self, features: Tensor, is_photo: Tensor) -> Tensor:
        """How much each photo counts (B, P), 1 in all; 0 where `is_photo` (B, P) says there is none."""
        answers: Tensor = self.norm(features) @ self.question / math.sqrt(len(self.question))
        return answers.masked_fill(~is_photo, -math.inf).softmax(dim=1)

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
    """Joins features of text with a photo's; a product without text has learned ones in their place.

    `concat` lays them side by side. `gate` is x + sigmoid(W [x, t]) * (V t) of the photo's features x
    and the text's t, so that a text which says nothing new need not change what the photo shows.
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
        """Features (B, F) of photos (B, D) and texts (B, T); None is no text at all."""
        if texts is None:
            texts = photos.new_zeros(len(photos), len(self.no_text))
        is_told = texts.any(dim=1)
        if self.training and self.drop:
            is_told &= torch.rand(len(texts), device=texts.device) >= self.drop
        texts = torch.where(is_told[:, None], texts, self.no_text).to(photos.dtype)
        both = torch.cat([photos, texts], dim=1)
        if self.gate is None or self.project is None:
            return both
        fused: Tensor = photos + self.gate(both).sigmoid() * self.project(texts)
        return fused


class Neck(nn.Module):
    """Pools what several photos show, then joins it with the text."""

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

        `features` are (B, D) of one photo each or (B, P, D), of which the first `num_photos` (B) count.
        """
        if num_photos is not None:
            features = self.pool(features, are_photos(features, num_photos))
        return self.fusion(features, texts) if self.fusion else features


class Top(nn.Module):
    """A neck with the heads above it: what learns where the encoders are frozen."""

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
    """Which places of (B, P, ...) hold a photo, (B, P), if the first `num_photos` (B) do."""
    places = torch.arange(padded.shape[1], device=padded.device)
    return places < num_photos.to(padded.device)[:, None]
