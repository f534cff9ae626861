"""Photos changed to mislead the model that learns from them (FGSM; Goodfellow et al. 2015).

Shapes: B products, S the photos' side in pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WHITE = 255.0


def mislead(pixels: Tensor, loss_of: Callable[[Tensor], Tensor], *, eps: float) -> Tensor:
    """Move every pixel of photos (B, 3, S, S) by `eps` in the direction that raises the loss.

    Formula: x' = clip(x + 255 eps sign(dL/dx), 0, 255), `eps` a share of a pixel's range.

    No gradient reaches a parameter's `.grad`. `loss_of` is called once, with float pixels from 0 to
    255; only the sign of its gradient counts, so a loss may be scaled up to keep it from vanishing in
    half precision. Whatever else a forward pass changes (statistics of batch norms) it changes here.

    >>> photo = torch.full((1, 3, 2, 2), 100)
    >>> mislead(photo, lambda pixels: -pixels.sum(), eps=0.2).unique()
    tensor([49.])
    """
    plain = pixels.detach().float()
    with torch.enable_grad():
        watched = plain.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(watched), watched)
    return (plain + WHITE * eps * gradient.sign()).clamp(0, WHITE)
