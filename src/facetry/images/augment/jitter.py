"""Steps that change a photo's colours: torchvision's colour jitter with a factor for each product.

Every step is a function of a batch, numbers drawn for each of its products, and a strength. No sum and
no fused operation rounds here: their last bits would depend on the batch that a product comes in.
Shapes: B products, S the photos' side in pixels.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facetry.images.augment.geometry import Draws

if TYPE_CHECKING:
    import torch


def jitter_brightness(batch: "torch.Tensor", draws: Draws, reach: float) -> "torch.Tensor":
    """Multiply each photo's pixels by a factor from `1 - reach` to `1 + reach`."""
    factors = _spread_over(batch, 1 + reach * (2 * draws[:, 0] - 1))
    return (batch * factors).clamp_(0, 255).to(batch.dtype)


def jitter_contrast(batch: "torch.Tensor", draws: Draws, reach: float) -> "torch.Tensor":
    """Multiply each pixel's distance to its photo's mean grey by a factor."""
    import torch

    side = batch.shape[-1]
    # Whole numbers: their sum is exact in whatever order it is taken.
    total = _grey(batch).to(torch.int32).sum(dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1), int64
    return _move_from(total / (side * side), batch, draws, reach)


def jitter_saturation(batch: "torch.Tensor", draws: Draws, reach: float) -> "torch.Tensor":
    """Multiply each pixel's distance to its own grey by a factor."""
    return _move_from(_grey(batch), batch, draws, reach)


def jitter_hue(batch: "torch.Tensor", draws: Draws, reach: float) -> "torch.Tensor":
    """Turn the hues of each photo by up to `reach` of the colour circle, either way.

    A colour is its darkest channel and what the others have beyond it; the hue alone, a number from 0
    to 6, says how much of this goes to which channel.
    """
    import torch

    turns = _spread_over(batch, 6 * reach * (2 * draws[:, 0] - 1))[:, 0]  # (B, 1, 1)
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
    grey: "torch.Tensor", batch: "torch.Tensor", draws: Draws, reach: float
) -> "torch.Tensor":
    """Blend the photos with `grey`, or away from it."""
    factors = _spread_over(batch, 1 + reach * (2 * draws[:, 0] - 1))
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
