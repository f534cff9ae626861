"""The steps of the augmentation: crop, flip, rotation, and torchvision's colour jitter.

Every step is a function of a batch, random numbers for each of its products, and a strength. Sums and
fused operations that round are avoided: their last bits would depend on the rest of the batch.

Shapes: B products, S the photos' side in pixels, K random numbers for each product.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Uniforms = NDArray[np.float64]
"""Random numbers (B, K) in [0, 1)."""


def crop_at_random(batch: "torch.Tensor", uniforms: Uniforms, share: float) -> "torch.Tensor":
    """Crop each photo, extended by its mirrored edges, at a random position; S is unchanged."""
    import torch

    side = batch.shape[-1]
    # Mirroring cannot show more than the photo has.
    margin = min(round(share * side), side - 1)
    widened = _widen(_widen(batch, margin, axis=2), margin, axis=3)
    windows = widened.unfold(2, side, 1).unfold(3, side, 1)  # (B, 3, 2 margin + 1, ..., S, S)
    offsets = torch.from_numpy((uniforms[:, :2] * (2 * margin + 1)).astype(np.int64))
    rows, columns = offsets.to(batch.device).unbind(1)
    return windows[torch.arange(len(batch), device=batch.device), :, rows, columns]


def flip_at_random(batch: "torch.Tensor", uniforms: Uniforms, probability: float) -> "torch.Tensor":
    """Mirror each photo left to right with the given probability."""
    import torch

    flipped = torch.from_numpy(uniforms[:, 0] < probability).to(batch.device)
    return torch.where(flipped[:, None, None, None], batch.flip(3), batch)


def rotate_at_random(batch: "torch.Tensor", uniforms: Uniforms, reach_deg: float) -> "torch.Tensor":
    """Rotate each photo about its centre by up to `reach_deg` either way; corners mirror the edges."""
    import torch
    from torch.nn import functional

    side = batch.shape[-1]
    angles = np.deg2rad(reach_deg * (2 * uniforms[:, 0] - 1))  # (B), counter-clockwise
    turns = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)])).to(batch.device, torch.float32)
    cosines, sines = turns[:, :, None, None]  # (B, 1, 1) each
    # From -1 to 1 at the outer edges. Not `affine_grid`: a matrix product's last bits depend on B.
    across = (torch.arange(side, device=batch.device) * 2 - (side - 1)) / side  # (S)
    down = across[:, None]
    grid = torch.stack(
        [cosines * across - sines * down, sines * across + cosines * down], dim=-1
    )  # (B, S, S, 2)
    turned = functional.grid_sample(batch.float(), grid, padding_mode="reflection", align_corners=False)
    return turned.round_().to(batch.dtype)


def _widen(batch: "torch.Tensor", margin: int, *, axis: int) -> "torch.Tensor":
    """Mirror `margin` pixels beyond both edges along one axis; the edge itself is not repeated."""
    import torch

    side = batch.shape[axis]
    # Not `functional.pad`, which mirrors uint8 on the CPU only.
    before = batch.narrow(axis, 1, margin).flip(axis)
    after = batch.narrow(axis, side - 1 - margin, margin).flip(axis)
    return torch.cat([before, batch, after], dim=axis)


def jitter_brightness(batch: "torch.Tensor", uniforms: Uniforms, reach: float) -> "torch.Tensor":
    """Multiply each photo's pixels by a factor from `1 - reach` to `1 + reach`."""
    factors = _spread_over(batch, 1 + reach * (2 * uniforms[:, 0] - 1))
    return (batch * factors).clamp_(0, 255).to(batch.dtype)


def jitter_contrast(batch: "torch.Tensor", uniforms: Uniforms, reach: float) -> "torch.Tensor":
    """Multiply each pixel's distance to its photo's mean grey by a factor."""
    import torch

    side = batch.shape[-1]
    # Integers: their sum is exact in any order.
    total = _grey(batch).to(torch.int32).sum(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1), int64
    return _move_from(total / (side * side), batch, uniforms, reach)


def jitter_saturation(batch: "torch.Tensor", uniforms: Uniforms, reach: float) -> "torch.Tensor":
    """Multiply each pixel's distance to its own grey by a factor."""
    return _move_from(_grey(batch), batch, uniforms, reach)


def jitter_hue(batch: "torch.Tensor", uniforms: Uniforms, reach: float) -> "torch.Tensor":
    """Turn the hues of each photo by up to `reach` of the colour circle, either way.

    A colour is its darkest channel plus an excess over it; the hue, a number from 0 to 6, is how the
    excess is distributed over the channels.
    """
    import torch

    turns = _spread_over(batch, 6 * reach * (2 * uniforms[:, 0] - 1))[:, 0]  # (B, 1, 1)
    red, green, blue = batch.float().unbind(1)  # (B, S, S) each
    darkest = torch.minimum(torch.minimum(red, green), blue)
    brightest = torch.maximum(torch.maximum(red, green), blue)
    span = brightest - darkest
    sector = torch.where(
        brightest == red,
        green - blue,
        torch.where(brightest == green, blue - red + 2 * span, red - green + 4 * span),
    )
    hue = sector.div_(span.clamp(min=1)).add_(turns)
    hue -= (hue / 6).floor_().mul_(6)
    excess = torch.stack(
        [(hue - 3).abs_() - 1, 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()], dim=1
    ).clamp_(0, 1)  # (B, 3, S, S)
    return excess.mul_(span[:, None]).add_(darkest[:, None]).round_().to(batch.dtype)


def _move_from(
    grey: "torch.Tensor", batch: "torch.Tensor", uniforms: Uniforms, reach: float
) -> "torch.Tensor":
    """Blend the photos with `grey`, or away from it."""
    factors = _spread_over(batch, 1 + reach * (2 * uniforms[:, 0] - 1))
    return (batch * factors + grey * (1 - factors)).clamp_(0, 255).to(batch.dtype)


def _grey(batch: "torch.Tensor") -> "torch.Tensor":
    """Whole levels of grey (B, 1, S, S), float."""
    red, green, blue = batch.split(1, dim=1)
    grey: torch.Tensor = red * 0.2989 + green * 0.587 + blue * 0.114
    return grey.floor_()


def _spread_over(batch: "torch.Tensor", numbers: NDArray[np.float64]) -> "torch.Tensor":
    """One number for each product (B, 1, 1, 1), on the batch's device."""
    import torch

    return torch.from_numpy(numbers).to(batch.device, torch.float32).view(-1, 1, 1, 1)
