"""Steps that move what a photo shows: crop, flip, rotation.

Every step is a function of a batch, numbers drawn for each of its products, and a strength.
Shapes: B products, S the photos' side in pixels, K numbers drawn for each product.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Draws = NDArray[np.float64]
"""Numbers (B, K) in [0, 1)."""


def crop_at_random(batch: "torch.Tensor", draws: Draws, share: float) -> "torch.Tensor":
    """Crop each photo, widened by its mirrored edges, at a place of its own; S stays."""
    import torch

    side = batch.shape[-1]
    # Mirroring cannot show more than the photo has.
    margin = min(round(share * side), side - 1)
    widened = _widen(_widen(batch, margin, axis=2), margin, axis=3)
    places = widened.unfold(2, side, 1).unfold(3, side, 1)  # (B, 3, 2 margin + 1, ..., S, S)
    offsets = torch.from_numpy((draws[:, :2] * (2 * margin + 1)).astype(np.int64))
    rows, columns = offsets.to(batch.device).unbind(1)
    return places[torch.arange(len(batch), device=batch.device), :, rows, columns]


def flip_at_random(batch: "torch.Tensor", draws: Draws, probability: float) -> "torch.Tensor":
    """Mirror each photo left to right with the given probability."""
    import torch

    flipped = torch.from_numpy(draws[:, 0] < probability).to(batch.device)
    return torch.where(flipped[:, None, None, None], batch.flip(3), batch)


def rotate_at_random(batch: "torch.Tensor", draws: Draws, reach_deg: float) -> "torch.Tensor":
    """Turn each photo about its centre by up to `reach_deg`, either way; the corners mirror the edge."""
    import torch
    from torch.nn import functional

    side = batch.shape[-1]
    angles = np.deg2rad(reach_deg * (2 * draws[:, 0] - 1))  # (B), counter-clockwise
    turns = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)])).to(batch.device, torch.float32)
    cosines, sines = turns[:, :, None, None]  # (B, 1, 1) each
    # From -1 to 1 at the outer edges. Not `affine_grid`: a matrix product's last bits depend on B.
    across = (torch.arange(side, device=batch.device) * 2 - (side - 1)) / side  # (S)
    down = across[:, None]
    places = torch.stack(
        [cosines * across - sines * down, sines * across + cosines * down], dim=-1
    )  # (B, S, S, 2)
    turned = functional.grid_sample(
        batch.float(), places, padding_mode="reflection", align_corners=False
    )
    return turned.round_().to(batch.dtype)


def _widen(batch: "torch.Tensor", margin: int, *, axis: int) -> "torch.Tensor":
    """Mirror `margin` pixels beyond both edges along one axis; the edge itself is not repeated."""
    import torch

    side = batch.shape[axis]
    # Not `functional.pad`, which mirrors uint8 on the CPU only.
    before = batch.narrow(axis, 1, margin).flip(axis)
    after = batch.narrow(axis, side - 1 - margin, margin).flip(axis)
    return torch.cat([before, batch, after], dim=axis)
