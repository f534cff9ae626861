"""Balance between heads and between the values of a head: weights of labels, repeats of products.

Shapes: N products of the training part, A slots, H heads, V values.
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.integer]
Counts = NDArray[np.integer]
Weights = NDArray[np.float64]


def count_labels(heads: Codes, labels: Codes, shape: tuple[int, int]) -> NDArray[np.int64]:
    """How often each value of each head occurs, as an array of `shape` (H, V).

    `heads` and `labels` (N, A) are -1 where a slot has no head or no known label.
    """
    known = (heads >= 0) & (labels >= 0)
    flat = np.ravel_multi_index((heads[known], labels[known]), shape)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def head_weights(counts: Counts) -> Weights:
    """A weight (H) for the labels of each head, so that all heads weigh the same.

    It is n / (k * n_h): n labels in total, k heads that have labels, n_h labels of this head. The mean
    over all labels is 1, so that the same learning rates suit. A head without labels gets 1.

    >>> head_weights(np.array([[2, 1], [1, 0], [0, 0]])).round(2).tolist()
    [0.67, 2.0, 1.0]
    """
    return _shares(counts.sum(axis=1))


def balanced_weights(counts: Counts) -> Weights:
    """A weight (H, V) for each value, so that the values of a head weigh the same in total.

    It is n / (k * n_v): n labels of the head, k values that occur, n_v labels of this value. The
    mean over a head's labels is 1. A value that does not occur gets 1.

    >>> balanced_weights(np.array([[3, 1, 0]])).round(2).tolist()
    [[0.67, 2.0, 1.0]]
    """
    return _shares(counts)


def effective_weights(counts: Counts) -> Weights:
    """A weight (H, V) for each value: one over its effective number of labels, with a mean of 1.

    After Cui et al. 2019 (Class-Balanced Loss Based on Effective Number of Samples, formula 2): that
    number is (1 - b^n_v) / (1 - b) with b = (n - 1) / n. Here n is the number of the head's labels, so
    that b needs no tuning, and rare values get smaller weights than from `balanced_weights`. The mean
    over a head's labels is 1. A value that does not occur gets 1.

    >>> effective_weights(np.array([[3, 1, 0]])).round(2).tolist()
    [[0.75, 1.74, 1.0]]
    """
    num_labels = counts.sum(axis=1, keepdims=True)
    base = 1 - 1 / np.maximum(num_labels, 1)  # H 1, the formula's b
    weights = np.where(counts, (1 - base) / np.where(counts, 1 - base**counts, 1.0), 0.0)
    total = (weights * counts).sum(axis=1, keepdims=True)
    scaled = weights * num_labels / np.where(total, total, 1.0)
    return np.where(counts, scaled, 1.0)


def repeat_factors(heads: Codes, labels: Codes, threshold: float) -> NDArray[np.float64]:
    """How often to show each product in an epoch (N), on average; at least 1.

    After Gupta, Dollar, Girshick 2019 (LVIS, repeat-factor sampling): a value's factor is
    max(1, sqrt(t / f)), t being the threshold and f the value's share; a product's factor is the
    largest of its labels. f is the value's share of the known labels of its head, so that missing labels
    do not make a value rarer. `heads` and `labels` (N, A) are -1 where there is none; a product without
    a label has a factor of 1.

    >>> repeat_factors(np.zeros((4, 1), int), np.array([[0], [0], [0], [1]]), 0.5).round(2).tolist()
    [1.0, 1.0, 1.0, 1.41]
    """
    known = (heads >= 0) & (labels >= 0)
    counts = count_labels(heads, labels, (int(heads.max(initial=0)) + 1, int(labels.max(initial=0)) + 1))
    known_heads = heads[known]
    shares = counts[known_heads, labels[known]] / counts.sum(axis=1)[known_heads]
    factors = np.ones(labels.shape)
    factors[known] = np.maximum(1.0, np.sqrt(threshold / shares))
    largest: NDArray[np.float64] = factors.max(axis=1, initial=1.0)
    return largest


def _shares(counts: Counts) -> Weights:
    """Each n_i along the last dimension as n / (k * n_i): n in total, k entries above 0; 1 for a 0."""
    total = counts.sum(axis=-1, keepdims=True)
    num_nonzero = (counts > 0).sum(axis=-1, keepdims=True)
    return np.where(counts, total / np.where(counts, num_nonzero * counts, 1), 1.0)
