"""How attention heads and inner channels are removed from a tower's blocks.

Shapes: B products, L positions, D features of a position, C inner channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

CHANNEL_DIMS: Mapping[str, int] = MappingProxyType(
    {
        "ResidualAttentionBlock": -1,  # open_clip's ViT
        "Block": -1,  # timm's ViT
        "SwinTransformerBlock": -1,
        "ConvNeXtBlock": 1,
        "InvertedResidual": 1,  # MobileNet
        "Bottleneck": 1,  # ResNet, ResNeXt
    }
)
"""The classes of residual blocks that can be pruned, with the channel dimension of their input."""

# The layers that make or scale a block's inner channels, and the layer that reads them.
_CHAINS = (
    (("mlp.c_fc",), "mlp.c_proj"),
    (("mlp.fc1",), "mlp.fc2"),
    (("conv_pw", "bn1", "conv_dw", "bn2"), "conv_pwl"),
    (("conv1", "bn1", "conv2", "bn2"), "conv3"),
)
_ATTENTIONS = {"SlimAttention", "Attention", "WindowAttention"}
# Layers that would have to be cut too, by a chain's first layer; blocks with them are not pruned.
_OBSTACLES = {"mlp.c_fc": "mlp.ln", "mlp.fc1": "mlp.norm", "conv_pw": "se"}


Kept = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class Pruning(BaseModel):
    """A pruning: the `blocks` removed, and the `heads` and `channels` kept in other blocks, by index.

    Blocks have the names that they had before any was removed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: tuple[str, ...] = ()
    heads: dict[str, Kept] = {}
    channels: dict[str, Kept] = {}


class SlimAttention(nn.Module):
    """Self-attention as in `nn.MultiheadAttention`, but the heads' sizes need not sum to D.

    `nn.MultiheadAttention` requires that they do; a tower with removed heads uses this instead.
    """

    def __init__(self, width: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.qkv = nn.Linear(width, 3 * num_heads * head_dim)
        self.proj = nn.Linear(num_heads * head_dim, width)

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> "SlimAttention":
        """The same attention with all its heads."""
        result = cls(attention.embed_dim, attention.num_heads, attention.head_dim)
        result.qkv.weight, result.qkv.bias = attention.in_proj_weight, attention.in_proj_bias
        result.proj.weight, result.proj.bias = attention.out_proj.weight, attention.out_proj.bias
        return result.train(attention.training)

    def forward(
        self,
        query: Tensor,  # (B, L, D)
        key: Tensor,
        value: Tensor,
        *,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend from each position to all; called as `nn.MultiheadAttention` is."""
        assert query is key is value
        assert not need_weights
        heads = self.qkv(query).unflatten(
            -1, (3, self.num_heads, self.head_dim)
        )  # (B, L, 3, heads, dim)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.proj(mixed.transpose(1, 2).flatten(2)), None


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """`count` removable heads or channels of a block, each `size` inputs of the layer `used_by`."""

    count: int
    size: int
    used_by: nn.Module


def open_attention(block: nn.Module) -> None:
    """Replace a block's `nn.MultiheadAttention`, whose heads cannot be removed, by `SlimAttention`."""
    if isinstance(attention := _attention(block), nn.MultiheadAttention):
        block.attn = SlimAttention.of(attention)


def head_units(block: nn.Module) -> Units | None:
    """The attention heads of a block; None if none can be removed."""
    attention = _attention(block)
    if type(attention).__name__ not in _ATTENTIONS:
        return None
    if getattr(attention, "gate", None) or not _is_nothing(attention, "norm"):
        return None
    num_heads = attention.num_heads
    size = attention.proj.in_features // num_heads
    return Units(count=num_heads, size=size, used_by=attention.proj)


def channel_units(block: nn.Module) -> Units | None:
    """The inner channels of a block's MLP or convolutions; None if they cannot be removed.

    Channels of a grouped convolution are removed in whole groups.
    """
    found = _chain(block)
    if found is None:
        return None
    makers, used_by = found
    num_channels = _num_inputs(used_by)
    groups = [layer.groups for layer in makers if isinstance(layer, nn.Conv2d) and layer.groups > 1]
    count = min(groups, default=num_channels)
    return Units(count=count, size=num_channels // count, used_by=used_by)


def cut_heads(block: nn.Module, kept: Tensor) -> None:
    """Remove all attention heads of a block but those with the indices `kept`."""
    units, attention = head_units(block), _attention(block)
    assert units
    inputs = _channels(kept, units.size)
    all_three = torch.cat([inputs + part * units.count * units.size for part in range(3)])
    _cut_rows(attention.qkv, all_three)
    _cut_columns(attention.proj, inputs)
    if hasattr(attention, "relative_position_bias_table"):  # Swin's, one column for each head
        _select(attention, "relative_position_bias_table", 1, kept)
    attention.num_heads = len(kept)
    if hasattr(attention, "attn_dim"):
        attention.attn_dim = len(inputs)


def cut_channels(block: nn.Module, kept: Tensor) -> None:
    """Remove all inner channels of a block, or groups of them, but those with the indices `kept`."""
    units, found = channel_units(block), _chain(block)
    assert units
    assert found
    inputs = _channels(kept, units.size)
    makers, used_by = found
    for layer in makers:
        _cut_rows(layer, inputs)
    _cut_columns(used_by, inputs)


def _chain(block: nn.Module) -> tuple[list[nn.Module], nn.Module] | None:
    """The layers that make or scale the inner channels of a block, and the one that reads them."""
    for makers, user in _CHAINS:
        if not all(_has(block, name) for name in (*makers, user)):
            continue
        layers, used_by = [block.get_submodule(name) for name in makers], block.get_submodule(user)
        is_free = _is_nothing(block, _OBSTACLES.get(makers[0], "")) and not _has(block, "mlp.grn")
        widths = {each.weight.shape[0] for each in layers if isinstance(each.weight, Tensor)}
        # Two ungrouped convolutions have two separate inner widths.
        middle = layers[2:3]
        is_one = all(isinstance(each, nn.Conv2d) and each.groups > 1 for each in middle)
        if is_free and is_one and widths == {_num_inputs(used_by)}:
            return layers, used_by
    return None


def _attention(block: nn.Module) -> Any:
    return getattr(block, "attn", None)


def _num_inputs(layer: nn.Module) -> int:
    count = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
    assert isinstance(count, int)
    return count


def _has(block: nn.Module, name: str) -> bool:
    return any(inner == name for inner, _ in block.named_modules())


def _is_nothing(block: nn.Module, name: str) -> bool:
    return not name or not _has(block, name) or isinstance(block.get_submodule(name), nn.Identity)


def _channels(units: Tensor, size: int) -> Tensor:
    """The channel indices of units with `size` channels each.

    >>> _channels(torch.tensor([0, 2]), 3)
    tensor([0, 1, 2, 6, 7, 8])
    """
    return (units[:, None] * size + torch.arange(size, device=units.device)).flatten()


def _cut_rows(layer: Any, kept: Tensor) -> None:
    """Cut a layer to some of its outputs, a grouped convolution also to the inputs of these groups."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(getattr(layer, name, None), Tensor):
            _select(layer, name, 0, kept)
    if isinstance(layer, nn.Conv2d):
        if layer.groups > 1:
            layer.groups = len(kept) * layer.groups // layer.out_channels
            layer.in_channels = len(kept)
        layer.out_channels = len(kept)
    elif isinstance(layer, nn.Linear):
        layer.out_features = len(kept)
    else:
        layer.num_features = len(kept)


def _cut_columns(layer: nn.Module, kept: Tensor) -> None:
    """Cut a layer to some of its inputs."""
    _select(layer, "weight", 1, kept)
    setattr(layer, "in_channels" if isinstance(layer, nn.Conv2d) else "in_features", len(kept))


def _select(layer: nn.Module, name: str, dim: int, kept: Tensor) -> None:
    tensor = getattr(layer, name)
    chosen = tensor.detach().index_select(dim, kept.to(tensor.device)).clone()
    is_parameter = isinstance(tensor, nn.Parameter)
    setattr(layer, name, nn.Parameter(chosen, tensor.requires_grad) if is_parameter else chosen)
