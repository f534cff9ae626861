"""The blocks of an image tower, from input to output, whichever library it is from.

timm's models declare which parameters belong to which block; for open_clip's own models it is declared
here. Freezing the first blocks, layer-wise learning rates and checkpointing are built on this.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from torch import nn

from facetry.errors import BackboneError
from facetry.models.towers.image import Backbone

Matcher = Mapping[str, str | Sequence[tuple[str, tuple[int, ...] | None]] | None]
"""Patterns of parameter names as in timm's `group_matcher`: of the stem, then of the blocks.

The numbers in a name, then those given with its pattern, define the order.
"""

_OPEN_CLIP: Mapping[str, Matcher] = {
    "VisionTransformer": {
        "stem": r"conv1|class_embedding|positional_embedding|ln_pre",
        "blocks": r"transformer\.resblocks\.(\d+)",
    },
    "ModifiedResNet": {"stem": r"(?:conv|bn)[123]", "blocks": r"layer(\d+)\.(\d+)"},
}

_AFTER_ALL = (99999,)  # timm's number for what follows the last block


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The names of one block's modules and parameters in its tower.

    A block that starts with a separate downsampling layer has two modules.
    """

    modules: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerBlocks:
    """A tower's blocks in order, and the names of the parameters before them (`stem`) and after."""

    stem: tuple[str, ...]
    blocks: tuple[Block, ...]
    tail: tuple[str, ...]

    @property
    def depths(self) -> dict[str, int]:
        """How many blocks come after each parameter; 0 for the last block and the tail."""
        num = len(self.blocks)
        depths = dict.fromkeys(self.tail, 0) | dict.fromkeys(self.stem, num)
        for number, block in enumerate(self.blocks, start=1):
            depths |= dict.fromkeys(block.parameters, num - number)
        return depths


def tower_blocks(tower: nn.Module) -> TowerBlocks:
    """The blocks of a tower of open_clip or timm.

    Raises:
        BackboneError: it is not known what the tower's blocks are.
    """
    trunk, prefix = (tower.trunk, "trunk.") if _is_wrapped(tower) else (tower, "")
    assert isinstance(trunk, nn.Module)
    matcher = _matcher(trunk)
    names: dict[tuple[int, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, _ in trunk.named_parameters():
        if located := _locate(name, matcher):
            order, module = located
            names[order][prefix + module].append(prefix + name)
    stem, *blocks = (names[order] for order in sorted(names))
    result = TowerBlocks(
        stem=tuple(chain.from_iterable(stem.values())),
        blocks=tuple(
            Block(modules=tuple(each), parameters=tuple(chain.from_iterable(each.values())))
            for each in blocks
        ),
        tail=(),
    )
    tail = (name for name, _ in tower.named_parameters() if name not in result.depths)
    return replace(result, tail=tuple(tail))


def freeze_blocks(backbone: Backbone, num_blocks: int) -> None:
    """Freeze a tower's stem and its first `num_blocks` blocks.

    Raises:
        BackboneError: a tower without blocks, or with fewer.
    """
    if not num_blocks:
        return
    parts = tower_blocks(backbone.tower)
    if num_blocks > len(parts.blocks):
        raise BackboneError(
            f"training.frozen_blocks is {num_blocks}, but the tower has {len(parts.blocks)} blocks.",
            hint=f"Set it to at most {len(parts.blocks)}; backbone.frozen freezes all of a backbone.",
        )
    for name in (
        *parts.stem,
        *(name for block in parts.blocks[:num_blocks] for name in block.parameters),
    ):
        backbone.tower.get_parameter(name).requires_grad_(False)


def checkpoint_blocks(backbone: Backbone) -> None:
    """Store only the blocks' inputs for the backward pass and recompute the rest there, to save memory.

    Raises:
        BackboneError: the tower does not support it.
    """
    tower: Any = backbone.tower
    try:
        tower.set_grad_checkpointing(True)
    except (AttributeError, AssertionError):  # timm's models that do not support it
        can = False
    else:  # open_clip's ignore the call
        can = any(getattr(each, "grad_checkpointing", False) for each in tower.modules())
    if not can:
        raise BackboneError(
            f"A tower of the kind {_kind(tower)} cannot compute its blocks twice.",
            hint="Set training.checkpointing to false; training.accumulation saves memory too.",
        )


def _is_wrapped(tower: nn.Module) -> bool:
    """Whether a tower is a timm model inside open_clip's adapter."""
    return isinstance(getattr(tower, "trunk", None), nn.Module)


def _kind(tower: nn.Module) -> str:
    return type(tower.trunk if _is_wrapped(tower) else tower).__name__


def _matcher(trunk: nn.Module) -> Matcher:
    own: Any = trunk
    matcher: Matcher | None = (
        own.group_matcher() if hasattr(own, "group_matcher") else _OPEN_CLIP.get(type(own).__name__)
    )
    if matcher is None:
        raise BackboneError(
            f"It is not known what the blocks of a {type(trunk).__name__} are.",
            hint="Leave out training.frozen_blocks and training.layer_decay, or take another backbone.",
        )
    return matcher


def _locate(name: str, matcher: Matcher) -> tuple[tuple[int, ...], str] | None:
    """A parameter's order among stem and blocks, and its module; None if it comes after the blocks."""
    for ordinal, patterns in enumerate(matcher.values()):
        for pattern, suffix in [(patterns, None)] if isinstance(patterns, str) else patterns or ():
            if found := re.match(pattern, name):
                order = (ordinal, *(int(each) for each in found.groups() if each), *(suffix or ()))
                return None if suffix == _AFTER_ALL else (order, found[0])
    return None
