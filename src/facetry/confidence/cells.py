"""Labelled cells with what was predicted for them: what calibration learns from and promises count.

A cell is one attribute of one product.

Shapes: N cells, V values of the head that has most, H heads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

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
        were not predicted or are novel have no cells.
        """
        rows, slots = np.nonzero(predictions.head_mask & (labels != -1) & ~predictions.is_novel[:, None])
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

    def evidence(self) -> "Evidence":
        """What a promise needs of them: one cell, drawn at random, for each head and group."""
        cells = self._one_per_group()
        of_label = np.take_along_axis(
            cells.log_probabilities, np.maximum(cells.labels, 0)[:, None], axis=1
        )
        return Evidence(
            heads=cells.heads,
            # Predictions are compared with it, and they have this precision.
            confidence=cells.confidence.astype(np.float32).astype(np.float64),
            of_label=np.where(cells.labels >= 0, np.exp(of_label[:, 0]), 0.0),
            is_right=cells.is_right,
            groups=cells.groups,
        )

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The most probable value's probability (N)."""
        largest: NDArray[np.float64] = self.log_probabilities.max(axis=1, initial=-np.inf)
        return np.exp(largest)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether the most probable value is the label (N)."""
        is_right: NDArray[np.bool_] = self.log_probabilities.argmax(axis=1) == self.labels
        return is_right

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

    def _one_per_group(self) -> "LabelledCells":
        order = np.random.default_rng(0).permutation(len(self))
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Labelled cells (N) that promises are based on, and what was predicted of them.

    `heads` are indices, `confidence` the most probable value's calibrated probability, `of_label` the
    label's (0 if it is none of the values), `is_right` whether they are the same value. Cells with the
    same number in `groups` are of the same or of like photos; cells of one head never are.
    """

    heads: NDArray[np.int64]
    confidence: NDArray[np.float64]
    of_label: NDArray[np.float64]
    is_right: NDArray[np.bool_]
    groups: NDArray[np.int64]

    @classmethod
    def empty(cls) -> "Evidence":
        """No cells."""
        nothing = np.empty(0)
        return cls(
            heads=nothing.astype(np.int64),
            confidence=nothing,
            of_label=nothing,
            is_right=nothing.astype(bool),
            groups=nothing.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.heads)

    def equals(self, other: "Evidence") -> bool:
        """Whether the other evidence is the same, cell by cell."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _EVIDENCE)

    def is_of(self, num_heads: int) -> bool:
        """Whether it has numbers throughout, and no head beyond these."""
        is_complete = all(getattr(self, name).shape == self.heads.shape for name in _EVIDENCE)
        is_known = (self.heads >= 0) & (self.heads < num_heads)
        is_number = np.isfinite(self.confidence).all() and np.isfinite(self.of_label).all()
        return bool(is_complete and is_known.all() and is_number)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> "Evidence":
        """Some of the cells, by index or mask."""
        return Evidence(
            heads=self.heads[index],
            confidence=self.confidence[index],
            of_label=self.of_label[index],
            is_right=self.is_right[index],
            groups=self.groups[index],
        )

    def of_heads(self, heads: Sequence[int]) -> "Evidence":
        """The cells of some heads, by index."""
        return self.take(np.isin(self.heads, heads))

    def counts(self, num_heads: int) -> NDArray[np.int64]:
        """The number of cells of each head (H)."""
        return np.bincount(self.heads, minlength=num_heads)


_EVIDENCE = tuple(each.name for each in fields(Evidence))
