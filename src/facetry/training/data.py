"""What the training loop reads: the rows of a split with their inputs, labels and categories.

Shapes: N products, B in a batch, S photo side, D features, A slots.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import TrainingError
from facetry.images import Augmenter, PhotoStore
from facetry.product import ProductId

Rows = NDArray[np.int64]


class Inputs(Protocol):
    """What goes into the model, batch by batch."""

    def batches(self, order: Sequence[Rows], *, epoch: int | None) -> Iterator[Tensor]:
        """The inputs of each batch of rows; augmented as `epoch` says, or as they are (None)."""
        ...


@dataclass(frozen=True, eq=False)
class PhotoInputs:
    """Photos (B, 3, S, S), augmented for training."""

    store: PhotoStore
    augmenter: Augmenter
    device: torch.device

    def batches(self, order: Sequence[Rows], *, epoch: int | None) -> Iterator[Tensor]:
        """See `Inputs`."""
        for rows, pixels in zip(order, self.store.batches(order), strict=True):
            batch = torch.from_numpy(pixels).to(self.device)
            yield batch if epoch is None else self.augmenter(batch, epoch=epoch, indices=rows)


@dataclass(frozen=True, eq=False)
class FeatureInputs:
    """Features (B, D) of a frozen backbone, embedded once."""

    features: Tensor

    def batches(self, order: Sequence[Rows], *, epoch: int | None) -> Iterator[Tensor]:  # noqa: ARG002
        """See `Inputs`; stored features are not augmented."""
        for rows in order:
            yield self.features[torch.from_numpy(rows)]


@dataclass(frozen=True, eq=False)
class Examples:
    """The products that training may look at.

    `train` and `validation` are positions, into the other arrays, of those that can be read.
    `weights` (N, A), above 0, weigh the labels in the loss; None weighs all the same. `factors`, one
    for each of `train`, are how often it is shown in an epoch on average, 1 or more; None is once.
    """

    ids: Sequence[ProductId]
    categories: Tensor
    labels: Tensor
    train: Rows
    validation: Rows
    weights: Tensor | None = None
    factors: NDArray[np.float64] | None = None

    @property
    def num_per_epoch(self) -> int:
        """How many products an epoch shows: the sum of the factors, rounded up."""
        return len(self.train) if self.factors is None else math.ceil(self.factors.sum() - 1e-6)


def useful_rows(catalogue: Catalogue, split: Split) -> Rows:
    """The training part's rows, then validation's, that have a known category and any label."""
    rows = np.concatenate([split.rows("train"), split.rows("validation")])
    useful: Rows = rows[catalogue.is_labelled[rows]]
    return useful


def line_up(catalogue: Catalogue, split: Split, rows: Rows, problems: Sequence[str]) -> Examples:
    """The examples in `rows`, with the problem of each one's photo, "" for none.

    Raises:
        TrainingError: nothing is left to train on.
    """
    is_readable = np.array([not problem for problem in problems], dtype=bool)
    is_train = np.isin(rows, split.rows("train"))
    if not (is_readable & is_train).any():
        reasons = sorted({problem for problem in problems if problem})
        raise TrainingError(
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
