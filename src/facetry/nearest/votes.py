"""Neighbours vote on what they have labels of.

Shapes: n products, k neighbours, A slots, V values.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def count_votes(
    cast: NDArray[np.integer], num_values: int, weights: NDArray[np.floating] | None = None
) -> NDArray[Any]:
    """Votes for each value (n, A, V), of what neighbours cast (n, k, A); -1 is no vote.

    With `weights` (n, k) a neighbour's vote counts for as much.

    >>> count_votes(np.array([[[1], [0], [1], [-1]]]), 3).tolist()
    [[[1, 2, 0]]]
    """
    # One value at a time: all at once would take V times the memory of the votes.
    if weights is None:
        return np.stack([(cast == value).sum(axis=1) for value in range(num_values)], axis=-1)
    shares = weights[:, :, None]
    votes = [((cast == value) * shares).sum(axis=1) for value in range(num_values)]
    return np.stack(votes, axis=-1)
