"""What training does to its photos so that no two epochs show the same pixels (paper, 4.2).

A different object from `preprocess`, which is the whole of evaluation and prediction.

Shapes: B products, S the photos' side in pixels, K numbers drawn for each product.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from facetry.images.draws import uniform_draws

if TYPE_CHECKING:
    import torch

Draws = NDArray[np.float64]
Step = Callable[["torch.Tensor", Draws], "torch.Tensor"]

DRAWS_PER_STEP: Final = 8


class Augmentation(BaseModel):
    """How strongly to augment; 0 switches a step off.

    `crop`: how far the photo moves at most up, down, left and right, as a share of its side; what
    comes into sight mirrors what lies at the edge. `flip`: the probability of a mirrored photo.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: Annotated[float, Field(ge=0, le=0.5)] = 0.125
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5


class Augmenter:
    """The steps of an `Augmentation`, applied to whole batches on whatever device they lie."""

    def __init__(self, config: Augmentation, seed: int) -> None:
        self.config = config
        self.seed = seed
        steps: dict[str, tuple[float, Step]] = {
            "crop": (config.crop, partial(crop_at_random, share=config.crop)),
            "flip": (config.flip, partial(flip_at_random, probability=config.flip)),
        }
        # A step draws numbers under its own name: another step added changes none of its own.
        self.steps = {name: step for name, (strength, step) in steps.items() if strength > 0}

    def __call__(
        self, batch: "torch.Tensor", *, epoch: int, indices: NDArray[np.integer]
    ) -> "torch.Tensor":
        """Augment a `uint8` batch (B, 3, S, S); `indices` (B,) are its rows in the training set.

        The same index in the same epoch is augmented in the same way in whatever batch it comes.
        """
        assert len(batch) == len(indices)
        for name, step in self.steps.items():
            draws = uniform_draws(
                indices, seed=self.seed, epoch=epoch, purpose=name, count=DRAWS_PER_STEP
            )  # (B, K)
            batch = step(batch, draws)
        return batch


def crop_at_random(batch: "torch.Tensor", draws: Draws, *, share: float) -> "torch.Tensor":
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


def _widen(batch: "torch.Tensor", margin: int, *, axis: int) -> "torch.Tensor":
    """Mirror `margin` pixels beyond both edges along one axis; the edge itself is not repeated."""
    import torch

    side = batch.shape[axis]
    # Not `functional.pad`, which mirrors uint8 on the CPU only.
    before = batch.narrow(axis, 1, margin).flip(axis)
    after = batch.narrow(axis, side - 1 - margin, margin).flip(axis)
    return torch.cat([before, batch, after], dim=axis)


def flip_at_random(batch: "torch.Tensor", draws: Draws, *, probability: float) -> "torch.Tensor":
    """Mirror each photo left to right with the given probability."""
    import torch

    flipped = torch.from_numpy(draws[:, 0] < probability).to(batch.device)
    return torch.where(flipped[:, None, None, None], batch.flip(3), batch)
