"""Applies the steps of an `Augmentation` to batches, and says which labels they leave true.

Shapes: B products, S the photos' side in pixels, A attribute slots, C categories, K random numbers
for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facetry.errors import RecipeError, nearest
from facetry.images.augment.config import STEPS, Augmentation
from facetry.images.augment.transforms import (
    Uniforms,
    crop_at_random,
    flip_at_random,
    jitter_brightness,
    jitter_contrast,
    jitter_hue,
    jitter_saturation,
    rotate_at_random,
)
from facetry.runtime.rng import counter_uniforms
from facetry.taxonomy import Taxonomy

if TYPE_CHECKING:
    import torch

UNIFORMS_PER_STEP: Final = 8
HARMLESS_SHARE: Final = 0.5
"""A step changes no label if it uses at most this share of its reach."""


def _augmix(batch: "torch.Tensor", uniforms: Uniforms, strength: float) -> "torch.Tensor":
    from facetry.images.corruptions import augmix

    return augmix(batch, uniforms, strength=strength)


def _reached(uniforms: Uniforms, strength: float) -> NDArray[np.float64]:  # noqa: ARG001
    """The share of its reach used by a step in either direction: by the first random number."""
    used: NDArray[np.float64] = np.abs(2 * uniforms[:, 0] - 1)
    return used


def _moved(uniforms: Uniforms, strength: float) -> NDArray[np.float64]:  # noqa: ARG001
    """The larger share of two such directions: by the first two random numbers."""
    used: NDArray[np.float64] = np.abs(2 * uniforms[:, :2] - 1).max(axis=1)
    return used


def _flipped(uniforms: Uniforms, strength: float) -> NDArray[np.float64]:
    """1 where a photo was mirrored."""
    return (uniforms[:, 0] < strength).astype(np.float64)


def _always(uniforms: Uniforms, strength: float) -> NDArray[np.float64]:  # noqa: ARG001
    """1 for a step that is never harmless."""
    return np.ones(len(uniforms))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One step: `apply` changes photos, given random numbers (B, K) and a strength.

    `used` is the share of its reach that it then used (B), 0 to 1.
    """

    apply: Callable[["torch.Tensor", Uniforms, float], "torch.Tensor"]
    used: Callable[[Uniforms, float], NDArray[np.float64]] = _reached


_STEPS: Final[Mapping[str, _Step]] = MappingProxyType(
    {
        "crop": _Step(apply=crop_at_random, used=_moved),
        "flip": _Step(apply=flip_at_random, used=_flipped),
        "rotation_deg": _Step(apply=rotate_at_random),
        "brightness": _Step(apply=jitter_brightness),
        "contrast": _Step(apply=jitter_contrast),
        "saturation": _Step(apply=jitter_saturation),
        "hue": _Step(apply=jitter_hue),
        "augmix": _Step(apply=_augmix, used=_always),
    }
)
assert tuple(_STEPS) == STEPS


class Augmenter:
    """Applies the steps of an `Augmentation` to whole batches, on the batch's device.

    The same index in the same epoch is augmented in the same way in any batch.
    """

    def __init__(self, config: Augmentation, seed: int, taxonomy: Taxonomy | None = None) -> None:
        """Prepare the steps that are on; `taxonomy` is needed where steps change labels.

        Raises:
            RecipeError: `changes` names an attribute that no category has.
        """
        self.config = config
        self.seed = seed
        # Each step has random numbers of its own, by its name: a further step does not change them.
        self.strengths = {name: float(getattr(config, name)) for name in STEPS if getattr(config, name)}
        self._changed: dict[str, NDArray[np.bool_]] = {}  # (C, A) for each step that is on
        if config.changes:
            assert taxonomy is not None
            changed = _changed_slots(config, taxonomy)
            self._changed = {name: changed[name] for name in changed if name in self.strengths}

    def __call__(
        self, batch: "torch.Tensor", *, epoch: int, indices: NDArray[np.integer]
    ) -> "torch.Tensor":
        """Augment a `uint8` batch (B, 3, S, S); `indices` (B,) are its rows in the training set."""
        assert len(batch) == len(indices)
        for name, strength in self.strengths.items():
            batch = _STEPS[name].apply(batch, self._uniforms(name, epoch, indices), strength)
        return batch

    def label_mask(
        self, *, epoch: int, indices: NDArray[np.integer], categories: "torch.Tensor"
    ) -> "torch.Tensor | None":
        """Which labels (B, A), bool, are still true after this epoch's augmentation; None: all are.

        A label is dropped where a step that changes its attribute used more than half of its reach: a
        photo that was mirrored at all, moved by more than half of `crop` along one axis, or turned by
        more than half of `hue`. `categories` (B,) are those of the rows; the result is on their device.
        """
        import torch

        if not self._changed:
            return None
        lost = torch.zeros((len(indices), 1), dtype=torch.bool, device=categories.device)
        for name, changed in self._changed.items():
            used = _STEPS[name].used(self._uniforms(name, epoch, indices), self.strengths[name])
            is_strong = torch.from_numpy(used > HARMLESS_SHARE).to(categories.device)  # (B)
            slots = torch.from_numpy(changed).to(categories.device)[categories]  # (B, A)
            lost = lost | (slots & is_strong[:, None])
        return ~lost

    def _uniforms(self, name: str, epoch: int, indices: NDArray[np.integer]) -> Uniforms:
        return counter_uniforms(
            indices, seed=self.seed, epoch=epoch, purpose=name, count=UNIFORMS_PER_STEP
        )


def _changed_slots(config: Augmentation, taxonomy: Taxonomy) -> dict[str, NDArray[np.bool_]]:
    """For each step in `changes`, whether it changes the label in each slot of each category (C, A)."""
    known = {head.attribute for head in taxonomy.heads}
    changed = {}
    for name, attributes in config.changes.items():
        for attribute in attributes:
            if attribute not in known:
                raise RecipeError(
                    f"augment.changes.{name} names the attribute {attribute!r}, which no category has.",
                    hint=nearest(attribute, known),
                )
        slots = np.zeros((len(taxonomy.categories), taxonomy.num_slots), dtype=bool)
        for code, category in enumerate(taxonomy.categories):
            for slot, each in enumerate(taxonomy.attributes(category)):
                slots[code, slot] = each in attributes
        changed[name] = slots
    return changed
