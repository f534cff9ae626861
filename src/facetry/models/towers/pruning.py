"""Structured pruning: removes blocks, attention heads and inner channels, for a smaller, faster tower.

What to remove is chosen on photos. A block's importance is 1 minus the cosine similarity of its input
and output (ShortGPT; Men et al. 2024). A head's or channel's importance is the root mean square of its
activations times the norm of the weights that read them (as in Wanda for single weights; Sun et al.
2023). Blocks are ranked over the whole tower; heads and channels within their block, so that none
becomes a bottleneck.

Shapes: B products, S side in pixels, C inputs of a layer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from facetry.errors import BackboneError
from facetry.models.config import PruneConfig
from facetry.models.towers.image import Backbone
from facetry.models.towers.slim import (
    CHANNEL_DIMS,
    Pruning,
    Units,
    channel_units,
    cut_channels,
    cut_heads,
    head_units,
    open_attention,
)

NUM_PHOTOS = 64
"""How many photos importance is measured on."""

_BATCH_SIZE = 16
_MULTIPLE = 8  # kernels compute channels in groups of eight anyway


def choose_pruning(backbone: Backbone, config: PruneConfig, photos: Tensor) -> Pruning:
    """The least important parts of `backbone`, measured on `uint8` photos (B, 3, S, S).

    Raises:
        BackboneError: the tower has no parts of a kind that is to be pruned.
    """
    blocks = _blocks(backbone.tower)
    if config.heads:
        for block in blocks.values():
            open_attention(block)
    heads = _units(blocks, head_units) if config.heads else {}
    channels = _units(blocks, channel_units) if config.channels else {}
    _check_prunable(backbone, config, {"heads": heads, "channels": channels})
    changes, inputs = _measure(backbone, blocks, [*heads.values(), *channels.values()], photos)
    removed = _least_important(changes, config.blocks) if config.blocks else ()
    if config.blocks and not removed:
        raise _unprunable(backbone, "blocks")
    return Pruning(
        blocks=removed,
        heads={
            name: _most_important(_importance(units, inputs), config.heads, 1)
            for name, units in heads.items()
            if name not in removed
        },
        channels={
            name: _most_important(
                _importance(units, inputs), config.channels, _MULTIPLE if units.size == 1 else 1
            )
            for name, units in channels.items()
            if name not in removed
        },
    )


def prune(backbone: Backbone, pruning: Pruning) -> None:
    """Remove from `backbone` what `pruning` says, and add it to `backbone.prunings`.

    Raises:
        BackboneError: the pruning is that of another tower.
    """
    tower = backbone.tower
    try:
        for name, kept in pruning.heads.items():
            open_attention(block := tower.get_submodule(name))
            cut_heads(block, torch.tensor(kept))
        for name, kept in pruning.channels.items():
            cut_channels(tower.get_submodule(name), torch.tensor(kept))
        for name in sorted(
            pruning.blocks, key=_sort_key, reverse=True
        ):  # removing one shifts those after it
            parent, _, number = name.rpartition(".")
            del tower.get_submodule(parent)[int(number)]
    except (AttributeError, AssertionError, IndexError, ValueError, TypeError) as error:
        raise BackboneError(f"The pruning is that of another tower: {error}") from error
    tower.to(memory_format=torch.channels_last)
    backbone.prunings = (*backbone.prunings, pruning)


def _blocks(tower: nn.Module) -> dict[str, nn.Module]:
    """The residual blocks by name."""
    return {name: each for name, each in tower.named_modules() if type(each).__name__ in CHANNEL_DIMS}


def _units(
    blocks: Mapping[str, nn.Module], units_of: Callable[[nn.Module], Units | None]
) -> dict[str, Units]:
    found = {name: units_of(block) for name, block in blocks.items()}
    return {name: units for name, units in found.items() if units}


def _check_prunable(
    backbone: Backbone, config: PruneConfig, found: Mapping[str, Mapping[str, Units]]
) -> None:
    for kind, units in found.items():
        if getattr(config, kind) and not units:
            raise _unprunable(backbone, kind)


def _unprunable(backbone: Backbone, kind: str) -> BackboneError:
    return BackboneError(
        f"The tower, of the kind {type(backbone.tower).__name__}, has no {kind} that can be pruned.",
        hint=f"Leave backbone.prune.{kind} out, or choose another backbone.",
    )


@torch.no_grad()
def _measure(
    backbone: Backbone, blocks: Mapping[str, nn.Module], units: Sequence[Units], photos: Tensor
) -> tuple[dict[str, float], dict[nn.Module, Tensor]]:
    """How much each block changes its input, and the root of layers' summed squared inputs (C).

    A block whose output has another shape than its input cannot be removed and is left out.
    """
    changes: dict[str, float] = {}
    squares: dict[nn.Module, Tensor] = {}

    def record_block(name: str, dim: int, before: Tensor, after: Tensor) -> None:
        if before.shape == after.shape:
            change = 1 - functional.cosine_similarity(before.float(), after.float(), dim=dim).mean()
            changes[name] = changes.get(name, 0.0) + change.item() * len(before)

    def record_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        dim = 1 if isinstance(layer, nn.Conv2d) else -1
        total = inputs[0].float().square().movedim(dim, 0).flatten(1).sum(dim=1)
        squares[layer] = squares[layer] + total if layer in squares else total

    with _hooked() as hooks:
        for name, block in blocks.items():
            dim = CHANNEL_DIMS[type(block).__name__]
            hooks.append(
                block.register_forward_hook(
                    lambda _, inputs, result, name=name, dim=dim: record_block(
                        name, dim, inputs[0], result
                    )
                )
            )
        hooks.extend(each.used_by.register_forward_pre_hook(record_input) for each in units)
        was_training = backbone.training
        backbone.eval()
        for batch in photos.split(_BATCH_SIZE):
            backbone(batch)
        backbone.train(was_training)
    return changes, {layer: each.sqrt() for layer, each in squares.items()}


@contextmanager
def _hooked() -> Iterator[list[Any]]:
    hooks: list[Any] = []
    try:
        yield hooks
    finally:
        for hook in hooks:
            hook.remove()


def _importance(units: Units, inputs: Mapping[nn.Module, Tensor]) -> Tensor:
    """How much each unit adds to its block's output, up to a common factor."""
    weight = units.used_by.weight
    assert isinstance(weight, Tensor)
    norms = weight.detach().float().movedim(1, 0).flatten(1).norm(dim=1)  # (C)
    importance: Tensor = (inputs[units.used_by] * norms).view(units.count, units.size).norm(dim=1)
    return importance


def _least_important(changes: Mapping[str, float], share: float) -> tuple[str, ...]:
    """The names of this share of the blocks, those that change least; at least one block remains."""
    num_removed = min(round(share * len(changes)), len(changes) - 1)
    return tuple(sorted(sorted(changes, key=lambda name: changes[name])[:num_removed]))


def _most_important(importance: Tensor, share: float, multiple: int) -> tuple[int, ...]:
    """The indices of the units that remain when this share is removed.

    Their number is a multiple of `multiple` if the number of units is, and is at least four times it.

    >>> _most_important(torch.tensor([3.0, 1.0, 4.0, 2.0]), 0.5, 1)
    (0, 2)
    """
    count = len(importance)
    step = multiple if count % multiple == 0 and count >= 4 * multiple else 1
    num_kept = max(1, round((1 - share) * count / step)) * step
    return tuple(sorted(importance.topk(num_kept).indices.tolist()))


def _sort_key(name: str) -> tuple[str, int]:
    parent, _, number = name.rpartition(".")
    return parent, int(number)
