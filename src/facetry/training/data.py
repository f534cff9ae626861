"""What the training loop reads: the rows of a split with their inputs, labels and categories.

Shapes: N products kept in memory's order, B in a batch, S photo side, D features, A slots.
"""

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
from facetry.images import NUM_DECODERS, Augmenter, PhotoStore
from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.product import Preprocess, ProductId
from facetry.progress import Reporter

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
    """The products of a split's training and validation parts that can be read.

    `train` and `validation` are positions into the other arrays.
    """

    ids: Sequence[ProductId]
    categories: Tensor
    labels: Tensor
    train: Rows
    validation: Rows
    store: PhotoStore


def read_examples(
    catalogue: Catalogue, split: Split, preprocess: Preprocess, reporter: Reporter
) -> Examples:
    """Read the photos of the training and validation parts, and line up what is known of them.

    Products without a readable photo, without a known category or without any label are left out.

    Raises:
        TrainingError: nothing is left to train on.
    """
    parts = {name: split.rows(name) for name in ("train", "validation")}
    rows = np.concatenate(list(parts.values()))
    useful = (catalogue.category_codes[rows] >= 0) & (catalogue.labels[rows] >= 0).any(axis=1)
    rows = rows[useful]
    products = catalogue.products(rows)
    with reporter.bar("Reading photos", len(products)) as advance:
        store = PhotoStore(
            products, preprocess, num_workers=NUM_DECODERS, on_progress=lambda _: advance(1)
        )
    readable = store.readable
    is_train = np.isin(rows[readable], parts["train"])
    if not is_train.any():
        reasons = sorted(set(store.problems.values()))
        raise TrainingError(
            f"Nothing to train on: of {len(split.rows('train'))} products in the training part none "
            f"has a label and a readable photo{': ' + ', '.join(reasons) if reasons else ''}.",
            hint="`facetry check` lists what is wrong with the catalogue.",
        )
    if store.problems:
        reporter.say(
            f"{len(store.problems)} of {len(products)} products have no readable photo and are left out."
        )
    return Examples(
        ids=[product.id for product in products],
        categories=torch.from_numpy(catalogue.category_codes[rows]),
        labels=torch.from_numpy(catalogue.labels[rows].astype(np.int64)),
        train=readable[is_train],
        validation=readable[~is_train],
        store=store,
    )


def in_batches(rows: Rows, size: int) -> list[Rows]:
    """Cut rows into batches; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def epoch_order(rows: Rows, *, seed: int, epoch: int) -> Rows:
    """The order of training rows in an epoch: it depends on seed and epoch alone."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(rows)


@torch.no_grad()
def embed(backbone: Backbone, examples: Examples, device: torch.device, reporter: Reporter) -> Tensor:
    """Features (N, D) of all readable examples; rows that could not be read stay 0."""
    features = torch.zeros(len(examples.ids), backbone.feature_size)
    order = in_batches(examples.store.readable, 64)
    backbone.eval()
    with reporter.bar("Embedding photos", len(examples.store.readable)) as advance:
        for rows, pixels in zip(order, examples.store.batches(order), strict=True):
            batch = torch.from_numpy(pixels).to(device)
            with computing("auto", device):
                embedded = backbone(batch)
            features[torch.from_numpy(rows)] = embedded.float().cpu()
            advance(len(rows))
    return features
