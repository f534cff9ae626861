"""A classifier as one static graph: photos in, probabilities of all heads of all categories out.

Shapes: B photos, S side in pixels, D features, H heads of all categories, V values of the head with
most.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from facetry.errors import ExportError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import (
    AnyHeads,
    CategoryHeads,
    Heads,
    JoinedHeads,
    StackedLinear,
    Standardise,
    precise,
)

_LEAST = -1e30
"""A finite logit whose probability is 0 next to any real one."""

_AS_IT_IS = "Predict with it as it is, on the torch engine."


class Graph(nn.Module):
    """`uint8` photos (B, 3, S, S) in, probabilities (B, H, V) of all heads out, 0 in padding.

    Normalisation, backbone, heads and softmax, without branches on the input, so that every runtime can
    compute it. The backbone is the classifier's own; the heads are copies.

    Raises:
        ExportError: the classifier reads text or several photos.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        _require_one_photo_only(classifier)
        self.taxonomy = classifier.taxonomy
        self.preprocess = classifier.backbone.preprocess
        self.backbone = classifier.backbone
        self.heads = _joined(classifier.heads)
        self.eval()

    def forward(self, photos: Tensor) -> Tensor:
        """Probabilities of all heads, in single precision."""
        return self.answer(self.backbone(photos))

    def answer(self, features: Tensor) -> Tensor:
        """Probabilities of all heads, given the features (B, D)."""
        logits: Tensor = self.heads(features)  # B H V
        finite = precise(logits).clamp(min=_LEAST)  # a head without values has no logit but -inf
        return finite.softmax(dim=-1).masked_fill(~self.heads.value_mask, 0)


class WithFeatures(nn.Module):
    """A graph whose second output are the features (B, D) that the heads read, as exports have it."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.whole = graph  # `graph` is what a traced module calls its own operators

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities of all heads, and features, both in single precision."""
        features = self.whole.backbone(photos)
        return self.whole.answer(features), precise(features)


def _require_one_photo_only(classifier: Classifier) -> None:
    """Raise an error for a classifier that reads text or several photos."""
    if classifier.text_tower is not None:
        raise ExportError(
            "A classifier that reads a product's text along with its photo cannot be exported.",
            hint=f"{_AS_IT_IS} Or train one without `text`.",
        )
    if classifier.neck is not None:
        raise ExportError(
            "A classifier that reads several photos of a product cannot be exported.",
            hint=f"{_AS_IT_IS} Or train one with photos.max: 1.",
        )


@torch.no_grad()
def _joined(heads: AnyHeads) -> CategoryHeads | JoinedHeads:
    """All heads of all categories stacked as if of one category, so that one product computes them."""
    if not isinstance(heads, Heads):
        shared = deepcopy(heads.joined).requires_grad_(requires_grad=False)
        _fold(heads.standardise, shared)
        return shared
    taxonomy = heads.taxonomy
    joined = CategoryHeads(taxonomy.heads, heads.feature_size, heads.config)
    joined.to(next(heads.parameters()).device).requires_grad_(requires_grad=False)
    nn.init.zeros_(joined.output.weight)  # otherwise its padding would be random
    nn.init.zeros_(joined.output.bias)
    for category, own in zip(taxonomy.categories, heads.categories, strict=True):
        assert isinstance(own, CategoryHeads)
        _copy(own, joined, taxonomy.head_indices(category))
    _fold(heads.standardise, joined)
    return joined


def _fold(standardise: Standardise | None, joined: CategoryHeads | JoinedHeads) -> None:
    """Fold the standardisation into the first layers: W (x - m) s = (W s) x - W s m."""
    if standardise is None:
        return
    first = joined.hidden[0]
    assert isinstance(first, StackedLinear)
    first.weight.mul_(standardise.scale)
    first.bias.sub_(first.weight @ standardise.mean)


def _copy(source: CategoryHeads, joined: CategoryHeads, rows: range) -> None:
    """Copy one category's weights to its rows among all heads."""
    part = slice(rows.start, rows.stop)
    layers = zip([*joined.hidden, *joined.norms], [*source.hidden, *source.norms], strict=True)
    for layer, own in layers:
        layer.weight[part] = own.weight
        layer.bias[part] = own.bias
    num_values = source.output.bias.shape[1]
    joined.output.weight[part, :num_values] = source.output.weight
    joined.output.bias[part, :num_values] = source.output.bias
