"""One MLP per attribute for all categories that have it, for catalogues with small categories.

A value is learned from the products of every category that may have it. Each head masks what its own
category may not have, and adds biases of its own: how frequent a value is differs by category.

Shapes: B products, D features, H heads of all categories, N attributes of different names, C
categories, A slots, V values of the head that has most, W values of the attribute that has most.
"""

import math

import torch
from torch import Tensor, nn

from facetry.models.config import HeadsConfig
from facetry.models.heads import CategoryHeads, Heads, Standardise, copy_scales, describe_form
from facetry.taxonomy import Head, Taxonomy


class JoinedHeads(nn.Module):
    """All heads of all categories at once, which is one static computation.

    `value_mask` (H, V) tells values from padding, `places` (H, V) where each value lies among those of
    all attributes, (N, W) flattened; 0 in padding.
    """

    value_mask: Tensor
    places: Tensor

    def __init__(self, taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> None:
        super().__init__()
        united = _united(taxonomy)
        self.attributes = CategoryHeads(united, feature_size, config)
        size = (taxonomy.num_heads, max(1, taxonomy.num_values))
        self.bias = nn.Parameter(torch.zeros(size))
        places, mask = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.bool)
        rows = {head.attribute: row for row, head in enumerate(united)}
        most = self.attributes.output.bias.shape[1]
        for index, head in enumerate(taxonomy.heads):
            row = rows[head.attribute]
            for place, value in enumerate(head.values):
                places[index, place] = row * most + united[row].values.index(value)
                mask[index, place] = True
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("value_mask", mask, persistent=False)

    @property
    def hidden(self) -> nn.ModuleList:
        """The stacked layers before the last."""
        return self.attributes.hidden

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, H, V) of features (B, D); -inf in padding."""
        of_attributes: Tensor = self.attributes(features).flatten(1)  # B N*W
        logits: Tensor = of_attributes[:, self.places.flatten()].view(-1, *self.places.shape) + self.bias
        return logits.masked_fill(~self.value_mask, -math.inf)


class SharedHeads(nn.Module):
    """All heads of a taxonomy, those of attributes of one name with the same weights."""

    slots: Tensor

    def __init__(self, taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> None:
        super().__init__()
        self.taxonomy = taxonomy
        self.feature_size = feature_size
        self.config = config
        self.standardise = Standardise(feature_size) if config.standardise else None
        self.joined = JoinedHeads(taxonomy, feature_size, config)
        slots = torch.full((len(taxonomy.categories) + 1, taxonomy.num_slots), -1)
        for code, category in enumerate(taxonomy.categories):
            indices = taxonomy.head_indices(category)
            slots[code, : len(indices)] = torch.tensor(indices)
        self.register_buffer("slots", slots, persistent=False)  # C+1 A; the last row is for no category

    @property
    def form(self) -> str:
        """What the shapes of the weights follow from, but for the taxonomy, in words."""
        return f"{describe_form(self.feature_size, self.config)}, shared by categories"

    @property
    def names(self) -> set[tuple[str, str]]:
        """The attribute of each MLP, of whatever category."""
        return {("", head.attribute) for head in self.taxonomy.heads}

    def forward(self, features: Tensor, categories: Tensor) -> Tensor:
        """Logits (B, A, V) of features (B, D); -inf in padding and for an unknown category (-1)."""
        if self.standardise is not None:
            features = self.standardise(features)
        logits: Tensor = self.joined(features)
        slots = self.slots[categories.to(self.slots.device)]  # B A
        rows = torch.arange(len(features), device=features.device)[:, None]
        chosen: Tensor = logits[rows, slots.clamp(min=0)][..., : self.taxonomy.num_values]
        return chosen.masked_fill((slots < 0)[..., None], -math.inf)

    @torch.no_grad()
    def take_shared(self, other: nn.Module) -> None:
        """Take over the weights of the heads and values that `other`, of the same form, has too."""
        assert isinstance(other, SharedHeads)
        copy_scales(self.standardise, other.standardise)
        self.joined.attributes.copy_shared(other.joined.attributes)
        theirs = {(head.category, head.attribute): row for row, head in enumerate(other.taxonomy.heads)}
        for row, head in enumerate(self.taxonomy.heads):
            if (found := theirs.get((head.category, head.attribute))) is None:
                continue
            values = other.taxonomy.heads[found].values
            for place, value in enumerate(head.values):
                if value in values:
                    self.joined.bias[row, place] = other.joined.bias[found, values.index(value)]

    def adapted(self, taxonomy: Taxonomy) -> "SharedHeads":
        """Heads for another taxonomy: those it shares keep their weights, value by value."""
        new = SharedHeads(taxonomy, self.feature_size, self.config)
        new.take_shared(self)
        return new.to(next(self.parameters())).train(self.training)


def _united(taxonomy: Taxonomy) -> tuple[Head, ...]:
    """One head for each attribute, with the values of all categories, each in its first place."""
    values: dict[str, dict[str, None]] = {}
    for head in taxonomy.heads:
        values.setdefault(head.attribute, {}).update(dict.fromkeys(head.values))
    return tuple(Head("", attribute, tuple(found)) for attribute, found in values.items())


AnyHeads = Heads | SharedHeads
"""Heads of either way."""


def build_heads(taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> AnyHeads:
    """Heads as `config` says, with weights drawn from torch's generator."""
    return (SharedHeads if config.shared else Heads)(taxonomy, feature_size, config)
