"""Cleaning and balancing of the training labels, each a switch of the recipe.

Source: paper, section 3.1.2. The neighbours of a product are the products of its category whose
features have the largest cosine with its own. Itself and its copies have no vote: a mistake that was
copied along with a photo would confirm itself.

Shapes: N products, T of them to train on, A slots, D features.

Shapes: N products, n products of one category, D features, A slots, k neighbours.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facetry.nearest import MAX_FLAT_ROWS, Index, count_votes
from facetry.runtime.files import write_text
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy
from facetry.training.config import CleanConfig
from facetry.training.data import Examples
from facetry.training.targets.balance import repeat_factors

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
            index = Index.build(own_features, "flat" if len(rows) <= MAX_FLAT_ROWS else "ivf")
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


_CLEANING = "cleaning.json"


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What was done to the training labels and products; None stands for what was not asked for.

    `mean_weight` is the one that neighbours leave a label, 0 to 1.
    """

    num_labels: int
    num_products: int
    num_replaced: int | None = None
    mean_weight: float | None = None
    num_per_epoch: int | None = None

    @property
    def sentences(self) -> list[str]:
        """One for each thing that was done."""
        told = []
        if self.num_replaced is not None:
            told.append(
                f"Of {self.num_labels:,} training labels {self.num_replaced:,} were replaced by what "
                "their neighbours vote for."
            )
        if self.mean_weight is not None:
            told.append(
                f"Their neighbours leave {self.num_labels:,} training labels a mean weight of "
                f"{self.mean_weight:.3f}."
            )
        if self.num_per_epoch is not None:
            told.append(
                f"An epoch shows {self.num_products:,} products {self.num_per_epoch:,} times in all."
            )
        return told

    def save(self, folder: Path) -> None:
        """Write it into the folder of a training; nothing where nothing was done."""
        if self.sentences:
            write_text(folder / _CLEANING, json.dumps(asdict(self), indent=1))


def read_cleaning(folder: Path) -> Sequence[str]:
    """The sentences on what a training in `folder` did to its labels; none where it did nothing."""
    path = folder / _CLEANING
    return Cleaning(**json.loads(path.read_text(encoding="utf-8"))).sentences if path.is_file() else ()


def clean(
    examples: Examples,
    taxonomy: Taxonomy,
    config: CleanConfig,
    features: NDArray[np.float32] | None,
    reporter: Reporter,
) -> tuple[Examples, Cleaning]:
    """The examples with their training labels cleaned and weighed as `config` says.

    `features` (N, D) tell who is whose neighbour; None where no neighbours are asked for.
    """
    train = torch.from_numpy(examples.train)
    cleaning = Cleaning(
        num_labels=int((examples.labels[train] >= 0).sum()), num_products=len(examples.train)
    )
    if features is not None:
        examples, cleaning = _ask_neighbours(examples, config, features, cleaning, reporter)
    if config.upsample:
        heads = taxonomy.head_slots[examples.categories[train].numpy()]  # T A
        factors = repeat_factors(heads, examples.labels[train].numpy(), config.upsample)
        examples = replace(examples, factors=factors)
        cleaning = replace(cleaning, num_per_epoch=examples.num_per_epoch)
    return examples, cleaning


def _ask_neighbours(
    examples: Examples,
    config: CleanConfig,
    features: NDArray[np.float32],
    cleaning: Cleaning,
    reporter: Reporter,
) -> tuple[Examples, Cleaning]:
    """Replace or weigh the training labels by their neighbours' votes."""
    train = torch.from_numpy(examples.train)
    given = examples.labels[train].numpy()  # T A
    votes = poll_neighbours(
        features[examples.train],
        examples.categories[train].numpy(),
        given,
        config.num_neighbours,
        reporter=reporter,
    )
    if config.neighbours == "replace":
        labels = examples.labels.clone()
        labels[train] = torch.from_numpy(replace_labels(given, votes))
        num_replaced = int((labels != examples.labels).sum())
        return replace(examples, labels=labels), replace(cleaning, num_replaced=num_replaced)
    weights = torch.ones(examples.labels.shape)
    weights[train] = torch.from_numpy(agreement(votes))
    mean_weight = float(weights[train][given >= 0].mean())
    return replace(examples, weights=weights), replace(cleaning, mean_weight=mean_weight)
