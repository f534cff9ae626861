"""The heads of a classifier: one MLP for each head (`Heads`), or for each attribute (`SharedHeads`).

`Heads`: the heads of one category share their inputs and have stacked parameters, so a mixed batch
costs a few matrix products for each category in it. No product runs through another category's heads,
and no Python loop runs over products.

`SharedHeads`: all categories with an attribute share its MLP, so that small categories learn from large
ones. Each head masks the values that its category does not have, and adds biases of its own, as values'
frequencies differ by category.

Shapes: B products, n products of one category, D features, U hidden units, C categories, A slots,
H heads of all categories, h heads of one category, V values of the head with most, N attributes of
different names, W values of the attribute with most.
"""

import math
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from facetry.models.config import HeadsConfig
from facetry.taxonomy import Head, Taxonomy

_NUM_AVERAGED = 100
_LEAST_VARIANCE = 1e-5


class StackedLinear(nn.Module):
    """Linear layers of one size, one for each of h heads; initialised as `nn.Linear` is."""

    def __init__(self, num_heads: int, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(num_inputs)
        self.weight = nn.Parameter(torch.empty(num_heads, num_outputs, num_inputs))
        self.bias = nn.Parameter(torch.empty(num_heads, num_outputs))
        for parameter in (self.weight, self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply all heads to the same inputs (n, D), in one product, or each to its own (n, h, U)."""
        if inputs.dim() == 2:
            outputs = functional.linear(inputs, self.weight.flatten(0, 1), self.bias.flatten())
            return outputs.view(-1, *self.bias.shape)
        stacked = inputs.transpose(0, 1)  # h n U
        outputs = torch.baddbmm(self.bias[:, None], stacked, self.weight.mT)
        return outputs.transpose(0, 1)


class StackedNorm(nn.Module):
    """Layer norms, one for each of h heads."""

    def __init__(self, num_heads: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads, size))
        self.bias = nn.Parameter(torch.zeros(num_heads, size))

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise the last dimension of (n, h, U)."""
        normal = functional.layer_norm(inputs, inputs.shape[-1:])
        return torch.addcmul(self.bias, normal, self.weight)


class Standardise(nn.Module):
    """Scales features to a mean of 0 and a deviation of 1, with moving averages over training batches.

    The averages, not a batch's own statistics, are used in training as well: a batch may have only one
    product, and a feature that is nearly always 0 has no deviation in most batches. `mean` and
    `variance` are (D); over the first 100 batches they are plain averages.
    """

    mean: Tensor
    variance: Tensor
    num_batches: Tensor

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("variance", torch.ones(feature_size))
        self.register_buffer("num_batches", torch.tensor(0))

    @property
    def scale(self) -> Tensor:
        """The factors (D) that features are multiplied by after the mean is subtracted."""
        return (self.variance + _LEAST_VARIANCE).rsqrt()

    def forward(self, features: Tensor) -> Tensor:
        """Standardise (B, D), in at least single precision."""
        features = precise(features)
        if self.training and len(features):
            self._update(features)
        return (features - self.mean) * self.scale

    @torch.no_grad()
    def _update(self, features: Tensor) -> None:
        self.num_batches += 1
        share = 1 / self.num_batches.clamp(max=_NUM_AVERAGED)
        step = (features.mean(dim=0) - self.mean) * share
        around = (features - self.mean).square().mean(dim=0)  # about the mean before this batch
        self.variance += (around - self.variance) * share - step.square()
        self.mean += step


def copy_scales(target: Standardise | None, source: Standardise | None) -> None:
    """Copy the statistics that features are standardised with, if both heads standardise."""
    if target is not None and source is not None:
        target.load_state_dict(source.state_dict())


class CategoryHeads(nn.Module):
    """All heads of one category: per hidden layer Linear, LayerNorm, ReLU, Dropout; then Linear.

    With `norms: first` only the first hidden layer has a LayerNorm.
    """

    value_mask: Tensor

    def __init__(self, heads: tuple[Head, ...], feature_size: int, config: HeadsConfig) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = config.dropout
        sizes = [feature_size] + [config.hidden_dim] * config.num_hidden_layers
        self.hidden = nn.ModuleList(
            StackedLinear(len(heads), size, config.hidden_dim) for size in sizes[:-1]
        )
        num_norms = config.num_hidden_layers if config.norms == "every" else 1
        self.norms = nn.ModuleList(StackedNorm(len(heads), config.hidden_dim) for _ in range(num_norms))
        num_values = [len(head.values) for head in heads]
        most = max(1, *num_values)
        self.output = StackedLinear(len(heads), config.hidden_dim, most)
        mask = torch.arange(most) < torch.tensor(num_values)[:, None]  # h V
        self.register_buffer("value_mask", mask, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (n, h, V) of features (n, D); -inf in padding."""
        hidden = features
        for layer, norm in zip_longest(self.hidden, self.norms):
            hidden = layer(hidden)
            hidden = functional.relu(norm(hidden) if norm else hidden)
            hidden = functional.dropout(hidden, self.dropout, self.training)
        logits: Tensor = self.output(hidden)
        return logits.masked_fill(~self.value_mask, -math.inf)

    def copy_shared(self, other: "CategoryHeads") -> None:
        """Copy the weights of the heads and values that `other` has too."""
        theirs = {head.attribute: index for index, head in enumerate(other.heads)}
        for index, head in enumerate(self.heads):
            if head.attribute in theirs:
                self._copy_head(index, other, theirs[head.attribute])

    def _copy_head(self, index: int, other: "CategoryHeads", other_index: int) -> None:
        layers = zip([*self.hidden, *self.norms], [*other.hidden, *other.norms], strict=True)
        for layer, other_layer in layers:
            layer.weight[index] = other_layer.weight[other_index]
            layer.bias[index] = other_layer.bias[other_index]
        other_values = other.heads[other_index].values
        for code, value in enumerate(self.heads[index].values):
            if value in other_values:
                other_code = other_values.index(value)
                self.output.weight[index, code] = other.output.weight[other_index, other_code]
                self.output.bias[index, code] = other.output.bias[other_index, other_code]


class Heads(nn.Module):
    """All heads of a taxonomy."""

    def __init__(self, taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> None:
        super().__init__()
        self.taxonomy = taxonomy
        self.feature_size = feature_size
        self.config = config
        self.standardise = Standardise(feature_size) if config.standardise else None
        self.categories = nn.ModuleList(
            CategoryHeads(taxonomy.heads_of(category), feature_size, config)
            for category in taxonomy.categories
        )

    @property
    def form(self) -> str:
        """What the shapes of the weights depend on apart from the taxonomy, in words."""
        return describe_form(self.feature_size, self.config)

    @property
    def names(self) -> set[tuple[str, str]]:
        """The category and attribute of each MLP."""
        return {(head.category, head.attribute) for head in self.taxonomy.heads}

    def forward(self, features: Tensor, categories: Tensor) -> Tensor:
        """Logits (B, A, V) of features (B, D); -inf in padding and for an unknown category (-1).

        `categories` (B) holds category indices and is best left on the CPU, where it is grouped.
        """
        if self.standardise is not None:
            features = self.standardise(features)
        num_slots, num_values = self.taxonomy.num_slots, self.taxonomy.num_values
        logits = features.new_full((len(features), num_slots, num_values), -math.inf)
        for code in categories.unique().tolist():
            if code >= 0:
                rows = (categories == code).nonzero()[:, 0].to(features.device)
                own = self.categories[code](features[rows])  # n h V
                padding = (0, num_values - own.shape[2], 0, num_slots - own.shape[1])
                logits[rows] = functional.pad(own, padding, value=-math.inf).to(logits.dtype)
        return logits

    @torch.no_grad()
    def copy_shared(self, other: nn.Module) -> None:
        """Copy the weights of the heads and values that `other`, of the same form, has too."""
        assert isinstance(other, Heads)
        copy_scales(self.standardise, other.standardise)
        theirs = dict(zip(other.taxonomy.categories, other.categories, strict=True))
        for category, heads in zip(self.taxonomy.categories, self.categories, strict=True):
            found = theirs.get(category)
            if isinstance(heads, CategoryHeads) and isinstance(found, CategoryHeads):
                heads.copy_shared(found)

    def adapted(self, taxonomy: Taxonomy) -> "Heads":
        """Heads for another taxonomy, with the weights of the heads and values in both."""
        new = Heads(taxonomy, self.feature_size, self.config)
        new.copy_shared(self)
        return new.to(next(self.parameters())).train(self.training)


def describe_form(feature_size: int, config: HeadsConfig) -> str:
    """What the shapes of a head's weights depend on apart from its values, in words."""
    return (
        f"{feature_size} inputs, {config.num_hidden_layers} hidden layers of {config.hidden_dim}, "
        f"norms after the {config.norms}" + (", standardised" if config.standardise else "")
    )


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over the last dimension; 0 where a logit is -inf, even if all of them are."""
    padding = logits.isneginf()
    safe = precise(logits).masked_fill(padding.all(dim=-1, keepdim=True), 0)
    return safe.softmax(dim=-1).masked_fill(padding, 0)


def precise(logits: Tensor) -> Tensor:
    """Half precision converted to single precision; others unchanged."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class JoinedHeads(nn.Module):
    """All heads of all categories at once, as one static computation.

    `value_mask` (H, V) is False in padding; `indices` (H, V) is each value's index among those of all
    attributes, (N, W) flattened, 0 in padding.
    """

    value_mask: Tensor
    indices: Tensor

    def __init__(self, taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> None:
        super().__init__()
        merged = _merged(taxonomy)
        self.attributes = CategoryHeads(merged, feature_size, config)
        size = (taxonomy.num_heads, max(1, taxonomy.num_values))
        self.bias = nn.Parameter(torch.zeros(size))
        indices, mask = torch.zeros(size, dtype=torch.int64), torch.zeros(size, dtype=torch.bool)
        rows = {head.attribute: row for row, head in enumerate(merged)}
        most = self.attributes.output.bias.shape[1]
        for index, head in enumerate(taxonomy.heads):
            row = rows[head.attribute]
            for code, value in enumerate(head.values):
                indices[index, code] = row * most + merged[row].values.index(value)
                mask[index, code] = True
        self.register_buffer("indices", indices, persistent=False)
        self.register_buffer("value_mask", mask, persistent=False)

    @property
    def hidden(self) -> nn.ModuleList:
        """The stacked layers before the last."""
        return self.attributes.hidden

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, H, V) of features (B, D); -inf in padding."""
        of_attributes: Tensor = self.attributes(features).flatten(1)  # B N*W
        logits: Tensor = of_attributes[:, self.indices.flatten()]
        logits = logits.view(-1, *self.indices.shape) + self.bias
        return logits.masked_fill(~self.value_mask, -math.inf)


class SharedHeads(nn.Module):
    """All heads of a taxonomy; attributes with the same name share the weights."""

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
        """What the shapes of the weights depend on apart from the taxonomy, in words."""
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
    def copy_shared(self, other: nn.Module) -> None:
        """Copy the weights of the heads and values that `other`, of the same form, has too."""
        assert isinstance(other, SharedHeads)
        copy_scales(self.standardise, other.standardise)
        self.joined.attributes.copy_shared(other.joined.attributes)
        theirs = {(head.category, head.attribute): row for row, head in enumerate(other.taxonomy.heads)}
        for row, head in enumerate(self.taxonomy.heads):
            if (found := theirs.get((head.category, head.attribute))) is None:
                continue
            values = other.taxonomy.heads[found].values
            for code, value in enumerate(head.values):
                if value in values:
                    self.joined.bias[row, code] = other.joined.bias[found, values.index(value)]

    def adapted(self, taxonomy: Taxonomy) -> "SharedHeads":
        """Heads for another taxonomy, with the weights of the heads and values in both."""
        new = SharedHeads(taxonomy, self.feature_size, self.config)
        new.copy_shared(self)
        return new.to(next(self.parameters())).train(self.training)


def _merged(taxonomy: Taxonomy) -> tuple[Head, ...]:
    """One head for each attribute name, with the values of all categories, in order of appearance."""
    values: dict[str, dict[str, None]] = {}
    for head in taxonomy.heads:
        values.setdefault(head.attribute, {}).update(dict.fromkeys(head.values))
    return tuple(Head("", attribute, tuple(found)) for attribute, found in values.items())


AnyHeads = Heads | SharedHeads
"""Heads of either kind."""


def build_heads(taxonomy: Taxonomy, feature_size: int, config: HeadsConfig) -> AnyHeads:
    """Heads as `config` says, with random weights from torch's generator."""
    return (SharedHeads if config.shared else Heads)(taxonomy, feature_size, config)
