"""Balance between the values of a head: weights of labels, and how often a product is shown.

Shapes: N products of the training part, A slots, H heads, V values.
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer]


def class_weights(heads: Codes, labels: Codes) -> NDArray[np.float32]:
    """A weight (N, A) for each label, so that the values of a head weigh the same in all.

    The weight of a value is n / (k * n_v): n labels of the head, k values that occur, n_v labels of
    this value. Over a head's known labels the mean is 1. `heads` and `labels` (N, A) are -1 where
    there is none; the weight there is 1.

    >>> class_weights(np.zeros((4, 1), int), np.array([[0], [0], [0], [1]])).ravel().round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    known = (heads >= 0) & (labels >= 0)
    counts = _count(heads[known], labels[known])  # H V
    num_labels, num_values = counts.sum(axis=1), (counts > 0).sum(axis=1)
    weights = np.ones(labels.shape, dtype=np.float32)
    own = heads[known]
    weights[known] = num_labels[own] / (num_values[own] * counts[own, labels[known]])
    return weights


def repeat_factors(heads: Codes, labels: Codes, threshold: float) -> NDArray[np.float64]:
    """How often to show each product in an epoch (N), 1 or more, on average.

    After Gupta, Dollar, Girshick 2019 (LVIS, repeat-factor sampling): a value's factor is
    max(1, sqrt(t / f)), t being the threshold and f the value's share; a product's factor is the
    largest of its labels. With many heads and missing labels, f is the share of the known labels of
    the value's head: how many labels a head lacks then makes no value rarer. `heads` and `labels`
    (N, A) are -1 where there is none; a product without a label has a factor of 1.

    >>> repeat_factors(np.zeros((4, 1), int), np.array([[0], [0], [0], [1]]), 0.5).round(2).tolist()
    [1.0, 1.0, 1.0, 1.41]
    """
    known = (heads >= 0) & (labels >= 0)
    counts = _count(heads[known], labels[known])  # H V
    own = heads[known]
    shares = counts[own, labels[known]] / counts.sum(axis=1)[own]
    factors = np.ones(labels.shape)
    factors[known] = np.maximum(1.0, np.sqrt(threshold / shares))
    largest: NDArray[np.float64] = factors.max(axis=1, initial=1.0)
    return largest


def _count(heads: Codes, labels: Codes) -> NDArray[np.int64]:
    """How often each value of each head occurs (H, V), from flat codes."""
    shape = int(heads.max(initial=0)) + 1, int(labels.max(initial=0)) + 1
    cells = np.ravel_multi_index((heads, labels), shape)
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
