"""What the training loop reads: the rows of a split with their inputs, labels and categories.

Shapes: N products, B in a batch, P photos of the one that has most, S photo side, L tokens of a text, D
features, A slots, V values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import NotEnoughData
from facetry.images import Augmenter, Mixer, PhotoStore
from facetry.product import ProductId
from facetry.runtime.rng import counter_uniforms
from facetry.training.targets.distillation import Distillation

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Products that go through the model together: their rows, inputs, targets and categories.

    `model_kwargs` are the model's further arguments by name.
    """

    rows: Rows
    inputs: Tensor
    targets: Tensor  # B A V
    categories: Tensor  # B, on the CPU
    model_kwargs: Mapping[str, Tensor] = field(default_factory=dict)  # B ...

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, size: int) -> "list[Batch]":
        """The batch cut up; the last part may be smaller."""
        slices = [slice(start, start + size) for start in range(0, len(self), size)]
        return [
            Batch(
                rows=self.rows[each],
                inputs=self.inputs[each],
                targets=self.targets[each],
                categories=self.categories[each],
                model_kwargs={name: value[each] for name, value in self.model_kwargs.items()},
            )
            for each in slices
        ]


@dataclass(frozen=True, kw_only=True)
class EpochProgress:
    """A point in training: the epoch, from 0, and the share of all steps that is done."""

    epoch: int
    progress: float


class Inputs(Protocol):
    """What goes into the model, batch by batch."""

    @property
    def num_prefetched(self) -> int:
        """How many batches are worth preparing in a thread while the model learns from another."""
        ...

    def batches(self, order: Sequence[Rows], *, epoch: int | None = None) -> Iterator[Tensor]:
        """The inputs of each batch of rows, not augmented yet; with `epoch` None, as for prediction."""
        ...

    def model_kwargs(self, rows: Rows, inputs: Tensor) -> dict[str, Tensor]:
        """The model's further arguments, by name, for the inputs of some rows."""
        ...

    def augment(self, batch: Batch, at: EpochProgress) -> Batch:
        """The augmented batch: a function of its rows and of the progress of training."""
        ...


@dataclass(frozen=True, eq=False)
class PhotoInputs:
    """Photos (B, 3, S, S), augmented and mixed for training; tokens of texts (N, L) if any are read.

    Of products with several photos these are (B, P, 3, S, S), all augmented in the same way, unless
    training `draws_photos`: then it sees one of them in each epoch.
    """

    store: PhotoStore
    augmenter: Augmenter
    mixer: Mixer
    device: torch.device
    texts: Tensor | None = None
    draws_photos: bool = False

    @property
    def num_prefetched(self) -> int:
        """See `Inputs`; a GPU needs no thread, as it queues the next batch's augmentation anyway."""
        return 2 if self.device.type == "cpu" else 0

    def batches(self, order: Sequence[Rows], *, epoch: int | None = None) -> Iterator[Tensor]:
        """See `Inputs`."""
        picks = None
        if self.draws_photos and epoch is not None and self.store.spec.max_photos > 1:
            picks = [self._chosen_photos(rows, epoch) for rows in order]
        for pixels in self.store.batches(order, picks=picks):
            yield torch.from_numpy(pixels).to(self.device)

    def model_kwargs(self, rows: Rows, inputs: Tensor) -> dict[str, Tensor]:
        """See `Inputs`."""
        model_kwargs = {}
        if inputs.dim() == 5:
            model_kwargs["num_photos"] = torch.from_numpy(self.store.num_photos[rows])
        if self.texts is not None:
            model_kwargs["texts"] = self.texts[torch.from_numpy(rows)].to(self.device)
        return model_kwargs

    def _chosen_photos(self, rows: Rows, epoch: int) -> Rows:
        """The index of the photo of each product that training sees in an epoch."""
        randoms = counter_uniforms(rows, seed=self.augmenter.seed, epoch=epoch, purpose="photo", count=1)
        return (randoms[:, 0] * self.store.num_photos[rows]).astype(np.int64)

    def _augmented(self, batch: Batch, epoch: int) -> Tensor:
        """The photos; several of a product are augmented in the same way."""
        if batch.inputs.dim() == 4:
            return self.augmenter(batch.inputs, epoch=epoch, indices=batch.rows)
        num_photos = batch.inputs.shape[1]
        indices = np.repeat(batch.rows, num_photos)
        pixels = self.augmenter(batch.inputs.flatten(0, 1), epoch=epoch, indices=indices)
        return pixels.view_as(batch.inputs)

    def augment(self, batch: Batch, at: EpochProgress) -> Batch:
        """See `Inputs`."""
        pixels = self._augmented(batch, at.epoch)
        targets = batch.targets
        kept = self.augmenter.label_mask(epoch=at.epoch, indices=batch.rows, categories=batch.categories)
        if kept is not None:
            targets = targets * kept.to(targets.device)[..., None]
        pixels, targets = self.mixer(
            pixels,
            targets,
            batch.categories,
            epoch=at.epoch,
            indices=batch.rows,
            progress=at.progress,
        )
        return replace(batch, inputs=pixels, targets=targets)


@dataclass(frozen=True, eq=False)
class FeatureInputs:
    """Features (N, D) of a frozen backbone, embedded once, and of texts; they are not augmented.

    Of products with several photos they are (N, P, D), of which the first `num_photos` (N) are there.
    """

    features: Tensor
    num_prefetched: int = 0
    texts: Tensor | None = None
    num_photos: Tensor | None = None

    def batches(self, order: Sequence[Rows], *, epoch: int | None = None) -> Iterator[Tensor]:  # noqa: ARG002
        """See `Inputs`."""
        for rows in order:
            yield self.features[torch.from_numpy(rows)]

    def model_kwargs(self, rows: Rows, inputs: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """See `Inputs`."""
        found = {"num_photos": self.num_photos, "texts": self.texts}
        index = torch.from_numpy(rows)
        return {name: each[index] for name, each in found.items() if each is not None}

    def augment(self, batch: Batch, at: EpochProgress) -> Batch:  # noqa: ARG002
        """See `Inputs`."""
        return batch


@dataclass(frozen=True, eq=False)
class Examples:
    """The products that training may look at.

    `train` and `validation` are positions, into the other arrays, of those that can be read.
    `weights` (N, A), above 0, weigh the labels in the loss; None weighs all the same. `factors`, one
    for each of `train`, are how often it is shown in an epoch on average, 1 or more; None is once.
    With a `distillation`, a teacher's answers are learned from, too.
    """

    ids: Sequence[ProductId]
    categories: Tensor
    labels: Tensor
    train: Rows
    validation: Rows
    weights: Tensor | None = None
    factors: NDArray[np.float64] | None = None
    distillation: Distillation | None = None

    @property
    def num_per_epoch(self) -> int:
        """How many products an epoch shows: the sum of the factors, rounded up."""
        return len(self.train) if self.factors is None else math.ceil(self.factors.sum() - 1e-6)


def useful_rows(catalogue: Catalogue, split: Split, *, unlabelled: bool = False) -> Rows:
    """`rows_to_learn`, then those of the validation part that have any label."""
    rows = split.rows("validation")
    labelled = rows[catalogue.is_labelled[rows]]
    return np.concatenate([rows_to_learn(catalogue, split, unlabelled=unlabelled), labelled])


def rows_to_learn(catalogue: Catalogue, split: Split, *, unlabelled: bool = False) -> Rows:
    """The training part's rows with a known category and, unless `unlabelled`, with any label."""
    rows = split.rows("train")
    is_useful = catalogue.category_codes >= 0 if unlabelled else catalogue.is_labelled
    useful: Rows = rows[is_useful[rows]]
    return useful


def line_up(catalogue: Catalogue, split: Split, rows: Rows, problems: Sequence[str]) -> Examples:
    """The examples in `rows`; `problems` says why each one's photo cannot be read ("": it can).

    Raises:
        NotEnoughData: nothing is left to train on.
    """
    is_readable = np.array([not problem for problem in problems], dtype=bool)
    is_train = np.isin(rows, split.rows("train"))
    if not (is_readable & is_train).any():
        reasons = sorted({problem for problem in problems if problem})
        raise NotEnoughData(
            f"Nothing to train on: of {len(split.rows('train'))} products in the training part none "
            f"has a label and a readable photo{': ' + ', '.join(reasons) if reasons else ''}.",
            hint="`facetry check` lists what is wrong with the catalogue.",
        )
    return Examples(
        ids=catalogue.table["id"].gather(rows).to_list(),
        categories=torch.from_numpy(catalogue.category_codes[rows]),
        labels=torch.from_numpy(catalogue.labels[rows].astype(np.int64)),
        train=np.flatnonzero(is_readable & is_train),
        validation=np.flatnonzero(is_readable & ~is_train),
    )


def in_batches(rows: Rows, size: int) -> list[Rows]:
    """Cut rows into batches; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def epoch_order(
    rows: Rows, *, seed: int, epoch: int, factors: NDArray[np.float64] | None = None
) -> Rows:
    """The order of training rows in an epoch: it depends on seed, epoch and factors alone.

    With `factors` a row is there as often as its factor says, rounded up or down by chance: over
    epochs that is the factor on average, and in every epoch the sum is that of all, rounded up.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    if factors is None:
        return random.permutation(rows)
    order = random.permutation(len(rows))
    reach = np.cumsum(factors[order])
    num_shown = math.ceil(factors.sum() - 1e-6)
    reach *= num_shown / reach[-1]
    reach[-1] = num_shown
    # Systematic sampling: a row is shown once for each whole number that it reaches across.
    ends = np.floor(reach + random.random()).astype(np.int64)
    return random.permutation(np.repeat(rows[order], ends - np.append(0, ends[:-1])))
