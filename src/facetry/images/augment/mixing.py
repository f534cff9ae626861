"""MixUp and CutMix of two products of one category, with their targets.

Shapes: B products, S the photos' side in pixels, A attribute slots, V values.
"""

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facetry.images.augment.config import Augmentation
from facetry.runtime.rng import MASK

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mix:
    """How the products of a batch are mixed.

    `partners` (B,) are positions in the batch, a product's own if it is not mixed. `shares` (B,) are
    the shares of the products themselves. `boxes` (B, 4) say where the partner shows in CutMix, as
    top, bottom, left, right in pixels; None is MixUp.
    """

    partners: "torch.Tensor"
    shares: "torch.Tensor"
    boxes: "torch.Tensor | None" = None

    def pixels(self, batch: "torch.Tensor") -> "torch.Tensor":
        """The photos (B, 3, S, S), mixed; of the same type."""
        import torch

        others = batch[self.partners.to(batch.device)]
        if self.boxes is None:
            shares = self.shares.to(batch.device).view(-1, 1, 1, 1)
            return (shares * batch + (1 - shares) * others).round_().to(batch.dtype)
        top, bottom, left, right = self.boxes.to(batch.device).T[:, :, None, None, None]  # (B, 1, 1, 1)
        across = torch.arange(batch.shape[-1], device=batch.device)  # (S)
        down = across[:, None]
        is_inside = (down >= top) & (down < bottom) & (across >= left) & (across < right)
        return torch.where(is_inside, others, batch)

    def targets(self, targets: "torch.Tensor") -> "torch.Tensor":
        """The targets (B, A, V), mixed by the same shares: a label of one product alone weighs less."""
        shares = self.shares.to(targets.device, targets.dtype).view(-1, 1, 1)
        return shares * targets + (1 - shares) * targets[self.partners.to(targets.device)]


class Mixer:
    """Mixes each product with another of its category in the batch (Zhang 2018, Yun 2019).

    A product's own share is lambda or 1 - lambda, whichever is larger, of a lambda drawn from
    Beta(alpha, alpha). So each stays mostly itself: as that distribution is symmetric and partners are
    drawn at random, the mixtures are those of the two papers. With both on, each batch is mixed in one
    of the two ways, by chance.

    The alpha is adaptive (paper, section 4.2, which does not say how): at a share `progress` of the
    training it is `alpha * (1 - progress)`. Early in training, when the model could memorise single
    photos, mixtures are strong; they fade, and at the end it learns from plain photos.
    """

    def __init__(self, config: Augmentation, seed: int) -> None:
        self.alphas = {"mixup": config.mixup, "cutmix": config.cutmix}
        self.seed = seed

    def __call__(
        self,
        pixels: "torch.Tensor",
        targets: "torch.Tensor",
        categories: "torch.Tensor",
        *,
        epoch: int,
        indices: NDArray[np.integer],
        progress: float,
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Photos (B, 3, S, S) and targets (B, A, V), mixed; unchanged if mixing is off."""
        mix = self.draw(
            categories, epoch=epoch, indices=indices, progress=progress, side_px=pixels.shape[-1]
        )
        return (mix.pixels(pixels), mix.targets(targets)) if mix else (pixels, targets)

    def draw(
        self,
        categories: "torch.Tensor",
        *,
        epoch: int,
        indices: NDArray[np.integer],
        progress: float,
        side_px: int,
    ) -> Mix | None:
        """How products of `categories` (B,) are mixed; None if mixing is off."""
        alphas = self.alphas_at(progress)
        if not alphas:
            return None
        random = self._random(epoch, indices)
        kind = list(alphas)[int(random.integers(len(alphas)))]
        return draw_mix(categories, alphas[kind], random, side_px=side_px if kind == "cutmix" else None)

    def alphas_at(self, progress: float) -> dict[str, float]:
        """The alpha of each way of mixing that is on, after a share of the training."""
        faded = {name: alpha * (1 - progress) for name, alpha in self.alphas.items()}
        return {name: alpha for name, alpha in faded.items() if alpha > 0}

    def _random(self, epoch: int, indices: NDArray[np.integer]) -> np.random.Generator:
        """A generator that depends on the seed, the epoch and the rows of the batch."""
        rows = zlib.crc32(np.ascontiguousarray(indices, dtype="<i8").tobytes())
        key = np.random.SeedSequence([self.seed & MASK, epoch, zlib.crc32(b"mix"), rows])
        return np.random.Generator(np.random.Philox(key))


def draw_mix(
    categories: "torch.Tensor", alpha: float, random: np.random.Generator, *, side_px: int | None = None
) -> Mix:
    """Draw partners and shares for products of `categories` (B,); CutMix if `side_px` is given."""
    import torch

    order = torch.from_numpy(random.permutation(len(categories))).to(categories.device)
    partners = _next_of_category(categories, order)
    drawn = random.beta(alpha, alpha, len(categories))
    shares = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(categories.device)
    is_alone = partners == torch.arange(len(partners), device=partners.device)
    shares = shares.masked_fill(is_alone, 1)
    if side_px is None:
        return Mix(partners=partners, shares=shares.float())
    centres = torch.from_numpy(random.random((len(categories), 2))).to(categories.device)
    return _cut(partners, shares, centres, side_px)


def _cut(partners: "torch.Tensor", shares: "torch.Tensor", centres: "torch.Tensor", side_px: int) -> Mix:
    """Cut a square of `1 - share` of the area around each centre (B, 2); shares count what is left."""
    import torch

    half = (1 - shares).sqrt()[:, None] * side_px / 2  # (B, 1)
    middle = centres * side_px  # (B, 2)
    starts = (middle - half).round().long().clamp(0, side_px)
    ends = (middle + half).round().long().clamp(0, side_px)
    covered = (ends - starts).prod(dim=1) / side_px**2
    boxes = torch.stack([starts[:, 0], ends[:, 0], starts[:, 1], ends[:, 1]], dim=1)
    return Mix(partners=partners, shares=1 - covered, boxes=boxes)


def _next_of_category(categories: "torch.Tensor", order: "torch.Tensor") -> "torch.Tensor":
    """For each product (B,) the next of its category in `order`; the first follows the last."""
    import torch

    order = order[categories[order].argsort(stable=True)]  # one category after the other
    ordered = categories[order]
    positions = torch.arange(len(order), device=order.device)
    is_first = ordered != ordered.roll(1)
    is_first[:1] = True
    firsts = torch.where(is_first, positions, 0).cummax(0).values
    following = torch.where(is_first.roll(-1), firsts, positions + 1)
    return torch.empty_like(order).scatter_(0, order, order[following])
