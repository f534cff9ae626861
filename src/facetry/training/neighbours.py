"""Label correction by neighbours: products that look alike vote on each other's labels.

Source: paper, section 3.1.2. The neighbours of a product are the products of its category whose
features have the largest cosine with its own. Itself and its copies have no vote: a mistake that was
copied along with a photo would confirm itself.

Shapes: N products, n products of one category, D features, A slots, k neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetry.nearest.index import FLAT_MOST, Index
from facetry.nearest.votes import count_votes
from facetry.progress import SILENT, Reporter

Codes = NDArray[np.integer]
Features = NDArray[np.float32]

_COPY_DISTANCE = 1e-5  # the same photo twice; embedding it in another batch moves the last digits
_CHUNK = 8192  # products polled at once


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
            own_features = features[rows]
            # A graph takes longer to build than it saves in the one search that is made of it.
            index = Index.build(own_features, "flat" if len(rows) <= FLAT_MOST else "ivf")
            for start in range(0, len(rows), _CHUNK):
                own = np.arange(start, min(start + _CHUNK, len(rows)))
                near = _voters(index, own_features, own, num_neighbours)
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


def _voters(index: Index, features: Features, own: Codes, num_neighbours: int) -> Codes:
    """The neighbours (len(own), k) of the products at `own`, nearest first; -1 where there is none."""
    # As many again: copies take places that others are to have.
    distances, near = index.search(features[own], 2 * num_neighbours + 1)
    has_vote = (near >= 0) & (near != own[:, None]) & (distances > _COPY_DISTANCE)
    order = np.argsort(~has_vote, axis=1, kind="stable")[:, :num_neighbours]
    return np.take_along_axis(np.where(has_vote, near, -1), order, axis=1)


def _count(votes: Votes, rows: Codes, labels: Codes, voters: Codes) -> None:
    """Count the votes on the labels of `rows`, in place."""
    cast = np.where(voters[:, :, None] >= 0, labels[voters], -1)  # n k A
    own = labels[rows]
    votes.num_voters[rows] = (cast >= 0).sum(axis=1)
    votes.num_agreeing[rows] = ((cast == own[:, None]) & (cast >= 0)).sum(axis=1)
    counts = count_votes(cast, int(labels.max(initial=0)) + 1)  # n A V
    most = counts.max(axis=-1)
    is_clear = (most > 0) & ((counts == most[..., None]).sum(axis=-1) == 1)
    votes.favourite[rows] = np.where(is_clear, counts.argmax(axis=-1), -1)
