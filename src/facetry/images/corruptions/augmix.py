"""AugMix: a photo mixed with several lightly changed copies of itself (Hendrycks et al. 2020).

A classifier trained on such photos is more robust to other damage. This is the original's mixing,
without its loss term for consistent predictions on all copies.

Shapes: B products, S the photos' side in pixels, K random numbers for each product; W chains of
operations for each photo; b of the W B copies, those that one operation changes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facetry.runtime.rng import counter_uniforms

if TYPE_CHECKING:
    import torch

Uniforms = NDArray[np.float64]
Operation = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Changes `uint8` photos (b, 3, S, S) by levels (b), each from -1 to 1; 0 is (nearly) no change."""

WIDTH: Final = 3
DEPTH: Final = 3
"""Chains for each photo, and operations in a chain at most; as in the original."""

_MAX_TURN_RAD = math.radians(30)
_MAX_SHEAR = 0.3
_MAX_SHIFT = 2 / 3  # of half a side, which grids count in
_MAX_NOISE = 0.15 * 255
_SMALL_PX = 36  # the side of the small copy that a blur is made from


def augmix(batch: "torch.Tensor", uniforms: Uniforms, *, strength: float) -> "torch.Tensor":
    """Mix each `uint8` photo (B, 3, S, S) with changed copies of itself.

    `strength`, above 0 and up to 1, limits each operation; the original's is 0.3. Everything random
    depends on the first of a product's `uniforms` (B, K). Colours change: posterizing and solarizing are
    among the operations. So are a little noise and blur, which the original excludes as it is evaluated
    on them: scores on noisy or blurred photos do not test unseen damage.
    """
    import torch

    plan = Plan.of(uniforms, strength)
    chains = batch.repeat(WIDTH, 1, 1, 1)  # W B 3 S S, the first two as one
    levels = torch.from_numpy(plan.levels).to(batch.device)
    for turn in range(DEPTH):
        for index, operation in enumerate(OPERATIONS.values()):
            rows = torch.from_numpy(np.flatnonzero(plan.chosen[turn] == index)).to(batch.device)
            if len(rows):
                chains[rows] = operation(chains[rows], levels[turn][rows])
    shares = torch.from_numpy(plan.shares).to(batch.device)[:, :, None, None, None]  # W + 1 B 1 1 1
    mixed = shares[WIDTH] * batch
    for copies, share in zip(chains.chunk(WIDTH), shares, strict=False):
        mixed += share * copies
    return mixed.round().clamp(0, 255).to(batch.dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The operations on each copy, and the copy's share of the mixture.

    Attributes:
        chosen: the operation of each turn and copy (DEPTH, W B); -1 where the chain has ended.
        levels: how far it goes (DEPTH, W B), -1 to 1.
        shares: of the chains and, last, of the photo itself (W + 1, B); they sum to 1.
    """

    chosen: NDArray[np.int64]
    levels: NDArray[np.float32]
    shares: NDArray[np.float32]

    @classmethod
    def of(cls, uniforms: Uniforms, strength: float) -> "Plan":
        """The plan that a batch's random numbers (B, K) determine."""
        keys = (uniforms[:, 0] * 2.0**53).astype(np.uint64)  # a uniform number has 53 bits
        count = 3 * DEPTH * WIDTH + 2 * WIDTH + 1
        drawn = counter_uniforms(keys, seed=0, epoch=0, purpose="augmix", count=count).T
        per_turn, per_chain, blend = np.split(drawn, [3 * DEPTH * WIDTH, count - 1])
        kinds, sizes, signs = per_turn.reshape(3, DEPTH, -1)  # each DEPTH, W B
        lengths, weights = per_chain.reshape(2, WIDTH, -1)  # each W B
        chosen = np.floor(kinds * len(OPERATIONS)).astype(np.int64)
        is_over = np.arange(DEPTH)[:, None] >= 1 + np.floor(lengths.reshape(-1) * DEPTH)
        # Exponential numbers scaled to sum to 1 are Dirichlet(1, ..., 1); Beta(1, 1) is uniform.
        weights = -np.log1p(-weights)
        weights = (1 - blend) * weights / np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
        return cls(
            chosen=np.where(is_over, -1, chosen),
            levels=(strength * sizes * np.where(signs < 0.5, -1, 1)).astype(np.float32),
            shares=np.concatenate([weights, blend]).astype(np.float32),
        )


def _autocontrast(photos: "torch.Tensor", _: "torch.Tensor") -> "torch.Tensor":
    from torchvision.transforms.v2 import functional

    stretched: torch.Tensor = functional.autocontrast(photos)
    return stretched


def _equalize(photos: "torch.Tensor", _: "torch.Tensor") -> "torch.Tensor":
    from torchvision.transforms.v2 import functional

    equalized: torch.Tensor = functional.equalize(photos)
    return equalized


def _posterize(photos: "torch.Tensor", levels: "torch.Tensor") -> "torch.Tensor":
    """Keep 4 bits of each channel, down to 1."""
    import torch

    num_dropped = 4 + (4 * levels.abs()).floor().clamp(max=3)
    masks = (256 - 2**num_dropped).to(torch.uint8)
    return photos & masks[:, None, None, None]


def _solarize(photos: "torch.Tensor", levels: "torch.Tensor") -> "torch.Tensor":
    """Invert what is brighter than a threshold."""
    import torch

    thresholds = (255 * (1 - levels.abs())).round().to(torch.uint8)
    return torch.where(photos > thresholds[:, None, None, None], 255 - photos, photos)


def _noise(photos: "torch.Tensor", levels: "torch.Tensor") -> "torch.Tensor":
    """Add a window of a fixed noise field, at an offset from the level's digits, with its sign."""
    import torch

    side = photos.shape[-1]
    field = _noise_field(side).to(photos.device)
    digits = (levels.abs().double() * 2**40).long()
    offsets = torch.stack([digits % side, digits // side % side])  # 2 b
    steps = torch.arange(side, device=photos.device)
    rows, columns = (offset[:, None] + steps for offset in offsets)  # b S
    windows = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # b 3 S S
    noisy = photos + _MAX_NOISE * levels[:, None, None, None] * windows
    return noisy.round().clamp(0, 255).to(photos.dtype)


@cache
def _noise_field(side: int) -> "torch.Tensor":
    """Standard normal numbers (3, 2 S, 2 S), always the same."""
    import torch

    field = np.random.RandomState(0).standard_normal((3, 2 * side, 2 * side))
    return torch.from_numpy(field.astype(np.float32))


def _blur(photos: "torch.Tensor", levels: "torch.Tensor") -> "torch.Tensor":
    """Interpolate towards a copy that was scaled down and up again."""
    from torch.nn import functional

    side, plain = photos.shape[-1], photos.float()
    small = functional.interpolate(plain, size=max(1, min(side // 2, _SMALL_PX)), mode="area")
    soft = functional.interpolate(small, size=side, mode="bilinear", align_corners=False)
    shares = (2 * levels.abs()).clamp(max=1)[:, None, None, None]
    return plain.lerp(soft, shares).round().to(photos.dtype)


def _turn(levels: "torch.Tensor") -> "torch.Tensor":
    import torch

    angles = _MAX_TURN_RAD * levels
    cosine, sine, nothing = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return torch.stack([cosine, -sine, nothing, sine, cosine, nothing], dim=1).view(-1, 2, 3)


def _moved(levels: "torch.Tensor", *, row: int, column: int, most: float) -> "torch.Tensor":
    """The identity as affine maps (b, 2, 3), but for one entry."""
    import torch

    maps = torch.eye(2, 3, device=levels.device).repeat(len(levels), 1, 1)
    maps[:, row, column] = most * levels
    return maps


def _warp(
    photos: "torch.Tensor",
    levels: "torch.Tensor",
    *,
    maps: Callable[["torch.Tensor"], "torch.Tensor"],
) -> "torch.Tensor":
    """Apply affine maps to photos; what moves in at the edges is mirrored."""
    from torch.nn import functional

    grid = functional.affine_grid(maps(levels), list(photos.shape), align_corners=False)
    moved = functional.grid_sample(photos.float(), grid, padding_mode="reflection", align_corners=False)
    return moved.round().clamp(0, 255).to(photos.dtype)


OPERATIONS: Final[Mapping[str, Operation]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
    "noise": _noise,
    "blur": _blur,
    "rotate": partial(_warp, maps=_turn),
    "shear across": partial(_warp, maps=partial(_moved, row=0, column=1, most=_MAX_SHEAR)),
    "shear down": partial(_warp, maps=partial(_moved, row=1, column=0, most=_MAX_SHEAR)),
    "shift across": partial(_warp, maps=partial(_moved, row=0, column=2, most=_MAX_SHIFT)),
    "shift down": partial(_warp, maps=partial(_moved, row=1, column=2, most=_MAX_SHIFT)),
}
"""The operations of a chain, all equally likely."""
