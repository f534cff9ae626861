"""Label correction by neighbours: products that look alike vote on each other's labels.

Source: paper, section 3.1.2. The neighbours of a product are the products of its category whose
features have the largest cosine with its own. Itself and its copies have no vote: a mistake that was
copied along with a photo would confirm itself.

Shapes: N products, n products of one category, D features, A slots, k neighbours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.progress import SILENT, Reporter

Codes = NDArray[np.integer]
Features = NDArray[np.float32]

NUM_EXACT = 200_000
"""Categories with more products are searched by parts of the space (IVF), no longer in full."""

_COPY_COSINE = 0.99999  # the same photo twice; embedding it in another batch moves the last digits
_CHUNK = 8192  # products polled at once
_NUM_PROBES = 32  # parts of the space looked at, of about 4 * sqrt(n)


@dataclass(frozen=True, eq=False)
class Votes:
    """What neighbours say of each label, arrays (N, A).

    `num_voters` neighbours have the attribute's label, `num_agreeing` of them the same. `favourite`
    is the value that has more votes than any other, -1 where there is none.
    """

    num_voters: NDArray[np.int64]
    num_agreeing: NDArray[np.int64]
    favourite: NDArray[np.int64]


def poll_neighbours(
    features: Features,
    categories: Codes,
    labels: Codes,
    num_neighbours: int,
    *,
    reporter: Reporter = SILENT,
) -> Votes:
    """Have the `num_neighbours` products most alike vote; `labels` (N, A) are -1 where unknown.

    A product without features (0) has neighbours nonetheless, of no meaning: leave it out.
    """
    votes = Votes(*(np.zeros(labels.shape, dtype=np.int64) for _ in range(3)))
    votes.favourite[:] = -1
    with reporter.bar("Polling neighbours", len(labels)) as advance:
        for category in np.unique(categories):
            rows = np.flatnonzero(categories == category)
            unit = _unit(features[rows])
            index = _build_index(unit)
            for start in range(0, len(rows), _CHUNK):
                own = np.arange(start, min(start + _CHUNK, len(rows)))
                near = _voters(index, unit, own, num_neighbours)
                _count(votes, rows[own], labels, np.where(near >= 0, rows[near], -1))
                advance(len(own))
    return votes


def replace_labels(labels: Codes, votes: Votes) -> Codes:
    """The neighbours' favourites in place of known labels; where there is none a label stays."""
    return np.where((labels >= 0) & (votes.favourite >= 0), votes.favourite, labels)


def agreement(votes: Votes) -> NDArray[np.float32]:
    """The weight (N, A) of each known label, 0 to 1, 0 left out: (1 + a) / (1 + v).

    v neighbours have a label and a of them the same: it is the share of votes that a label gets if
    the product has one itself. Without a voter it is 1.
    """
    return ((1 + votes.num_agreeing) / (1 + votes.num_voters)).astype(np.float32)


def _unit(features: Features) -> Features:
    """Features of length 1, so that an inner product is a cosine."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)


def _build_index(unit: Features) -> Any:
    """A faiss index of inner products over (n, D)."""
    import faiss

    num_rows, size = unit.shape
    index: Any = faiss.IndexFlatIP(size)
    if num_rows > NUM_EXACT:
        num_parts = round(4 * num_rows**0.5)
        index = faiss.IndexIVFFlat(index, size, num_parts, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = _NUM_PROBES
        index.train(unit)
    index.add(unit)
    return index


def _voters(index: Any, unit: Features, own: Codes, num_neighbours: int) -> Codes:
    """The neighbours (len(own), k) of the products at `own`, nearest first; -1 where there is none."""
    # As many again: copies take places that others are to have.
    cosines, near = index.search(unit[own], min(2 * num_neighbours + 1, len(unit)))
    has_vote = (near >= 0) & (near != own[:, None]) & (cosines < _COPY_COSINE)
    order = np.argsort(~has_vote, axis=1, kind="stable")[:, :num_neighbours]
    return np.take_along_axis(np.where(has_vote, near, -1), order, axis=1)


def _count(votes: Votes, rows: Codes, labels: Codes, voters: Codes) -> None:
    """Count the votes on the labels of `rows`, in place."""
    cast = np.where(voters[:, :, None] >= 0, labels[voters], -1)  # n k A
    own = labels[rows]
    votes.num_voters[rows] = (cast >= 0).sum(axis=1)
    votes.num_agreeing[rows] = ((cast == own[:, None]) & (cast >= 0)).sum(axis=1)
    values = np.arange(int(labels.max(initial=0)) + 1)
    # One value at a time: all at once would take V times the memory of the votes.
    counts = np.stack([(cast == value).sum(axis=1) for value in values], axis=-1)  # n A V
    most = counts.max(axis=-1)
    is_clear = (most > 0) & ((counts == most[..., None]).sum(axis=-1) == 1)
    votes.favourite[rows] = np.where(is_clear, counts.argmax(axis=-1), -1)
