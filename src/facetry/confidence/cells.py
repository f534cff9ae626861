"""Labelled cells with what was predicted for them: what calibration learns from and promises count.

A cell is one attribute of one product.

Shapes: N cells, V values of the head that has most, H heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facetry.predictions import Predictions
from facetry.taxonomy import Taxonomy

_LEAST = 1e-7
"""The probability that stands for 0, whose logarithm there is none of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledCells:
    """Cells that a person has labelled, and the probabilities that a predictor gave their values.

    `heads` (N) and `labels` (N) are indices; a label that the taxonomy does not list, or an answer such
    as "not applicable", is -1, and every prediction is wrong for it. `log_probabilities` (N, V) are
    -inf in padding. Cells with the same number in `groups` (N) are of the same or of like photos, and
    are not independent of each other.
    """

    taxonomy: Taxonomy
    heads: NDArray[np.int64]
    labels: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    groups: NDArray[np.int64]

    @classmethod
    def of(
        cls, predictions: Predictions, labels: NDArray[np.int64], groups: NDArray[np.int64]
    ) -> "LabelledCells":
        """The labelled cells of predictions of B products.

        `labels` (B, A) are coded as by `Taxonomy.encode_labels`, `groups` (B) as above. Products that
        were not predicted have no cells.
        """
        rows, slots = np.nonzero(predictions.head_mask & (labels != -1))
        heads = predictions.taxonomy.head_slots[predictions.category_codes[rows], slots]
        found = labels[rows, slots].astype(np.int64)
        probabilities = predictions.probabilities[rows, slots].astype(np.float64)
        floored = np.log(np.maximum(probabilities, _LEAST))
        mask = predictions.value_mask[rows, slots]
        return cls(
            taxonomy=predictions.taxonomy,
            heads=heads,
            labels=np.where(found < predictions.taxonomy.num_values, found, -1),
            log_probabilities=np.where(mask, floored, -np.inf),
            groups=groups[rows],
        )

    def __len__(self) -> int:
        return len(self.heads)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The most probable value's probability (N)."""
        return np.exp(self.log_probabilities.max(axis=1, initial=-np.inf))

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether the most probable value is the label (N)."""
        return self.log_probabilities.argmax(axis=1) == self.labels

    def with_log_probabilities(self, log_probabilities: NDArray[np.float64]) -> "LabelledCells":
        """The same cells with other probabilities (N, V)."""
        return replace(self, log_probabilities=log_probabilities)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> "LabelledCells":
        """Some of the cells, by index or mask."""
        return replace(
            self,
            heads=self.heads[index],
            labels=self.labels[index],
            log_probabilities=self.log_probabilities[index],
            groups=self.groups[index],
        )

    def one_per_group(self, seed: int = 0) -> "LabelledCells":
        """One cell, drawn at random, for each head and group: like photos are one observation."""
        order = np.random.default_rng(seed).permutation(len(self))
        pairs = np.column_stack([self.heads[order], self.groups[order]])
        _, first = np.unique(pairs, axis=0, return_index=True)
        return self.take(np.sort(order[first]))

    def folds(
        self, num_folds: int, seed: int = 0
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Masks (N) of the cells to learn from and to judge by; groups stay together."""
        found, groups = np.unique(self.groups, return_inverse=True)
        fold = np.random.default_rng(seed).permutation(len(found))[groups] % num_folds
        for each in range(num_folds):
            yield fold != each, fold == each
