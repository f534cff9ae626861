"""A tower loses whole blocks, attention heads and inner channels: fewer parameters, and less time.

What goes is chosen on photos. A block is worth what it changes: 1 less the cosine between what goes in
and what comes out (ShortGPT; Men et al. 2024). A head or channel is worth what it adds to the block's
output: the root mean square of what it hands on, times the norm of the weights that take it (as Wanda
has it for single weights; Sun et al. 2023). Blocks are ranked over the whole tower; heads and channels
within their block, so that none becomes a bottleneck.

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
"""How many photos are enough to tell what a tower can do without."""

_BATCH_SIZE = 16
_MULTIPLE = 8  # kernels compute channels in eights, needed or not


def choose_pruning(backbone: Backbone, config: PruneConfig, photos: Tensor) -> Pruning:
    """What `backbone` can best do without, judged by `uint8` photos (B, 3, S, S).

    Raises:
        BackboneError: a tower without parts of a kind that is to be pruned.
    """
    blocks = _blocks(backbone.tower)
    if config.heads:
        for block in blocks.values():
            open_attention(block)
    heads = _units(blocks, head_units) if config.heads else {}
    channels = _units(blocks, channel_units) if config.channels else {}
    _check_prunable(backbone, config, {"heads": heads, "channels": channels})
    changes, inputs = _measure(backbone, blocks, [*heads.values(), *channels.values()], photos)
    gone = _least(changes, config.blocks) if config.blocks else ()
    if config.blocks and not gone:
        raise _unprunable(backbone, "blocks")
    return Pruning(
        blocks=gone,
        heads={
            name: _most(_worth(units, inputs), config.heads, 1)
            for name, units in heads.items()
            if name not in gone
        },
        channels={
            name: _most(_worth(units, inputs), config.channels, _MULTIPLE if units.size == 1 else 1)
            for name, units in channels.items()
            if name not in gone
        },
    )


def prune(backbone: Backbone, pruning: Pruning) -> None:
    """Take out of `backbone` what `pruning` says is gone, and write that down in it.

    Raises:
        BackboneError: a pruning of another tower.
    """
    tower = backbone.tower
    try:
        for name, kept in pruning.heads.items():
            open_attention(block := tower.get_submodule(name))
            cut_heads(block, torch.tensor(kept))
        for name, kept in pruning.channels.items():
            cut_channels(tower.get_submodule(name), torch.tensor(kept))
        for name in sorted(pruning.blocks, key=_place, reverse=True):  # those behind one move up
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
    """How much each block changes its input, and the root mean square (C) of each input of layers.

    A block whose output is of another shape cannot go and is left out.
    """
    changes: dict[str, float] = {}
    squares: dict[nn.Module, Tensor] = {}

    def see_block(name: str, dim: int, before: Tensor, after: Tensor) -> None:
        if before.shape == after.shape:
            change = 1 - functional.cosine_similarity(before.float(), after.float(), dim=dim).mean()
            changes[name] = changes.get(name, 0.0) + change.item() * len(before)

    def see_input(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        dim = 1 if isinstance(layer, nn.Conv2d) else -1
        total = given[0].float().square().movedim(dim, 0).flatten(1).sum(dim=1)
        squares[layer] = squares[layer] + total if layer in squares else total

    with _hooked() as hooks:
        for name, block in blocks.items():
            dim = CHANNEL_DIMS[type(block).__name__]
            hooks.append(
                block.register_forward_hook(
                    lambda _, given, result, name=name, dim=dim: see_block(name, dim, given[0], result)
                )
            )
        hooks.extend(each.used_by.register_forward_pre_hook(see_input) for each in units)
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


def _worth(units: Units, inputs: Mapping[nn.Module, Tensor]) -> Tensor:
    """What each unit adds to its block's output, up to a factor that all have."""
    weight = units.used_by.weight
    assert isinstance(weight, Tensor)
    norms = weight.detach().float().movedim(1, 0).flatten(1).norm(dim=1)  # (C)
    worth: Tensor = (inputs[units.used_by] * norms).view(units.count, units.size).norm(dim=1)
    return worth


def _least(changes: Mapping[str, float], share: float) -> tuple[str, ...]:
    """The names of the blocks that change least; one at least stays."""
    num_gone = min(round(share * len(changes)), len(changes) - 1)
    return tuple(sorted(sorted(changes, key=lambda name: changes[name])[:num_gone]))


def _most(worth: Tensor, share: float, multiple: int) -> tuple[int, ...]:
    """The numbers of the units that are worth most; many channels stay a multiple of eight.

    >>> _most(torch.tensor([3.0, 1.0, 4.0, 2.0]), 0.5, 1)
    (0, 2)
    """
    count = len(worth)
    step = multiple if count % multiple == 0 and count >= 4 * multiple else 1
    num_kept = max(1, round((1 - share) * count / step)) * step
    return tuple(sorted(worth.topk(num_kept).indices.tolist()))


def _place(name: str) -> tuple[str, int]:
    parent, _, number = name.rpartition(".")
    return parent, int(number)
