"""Cleaning of the training labels by votes of similar products, and repeats of rare values.

Source: paper, section 3.1.2. The neighbours of a product are the products of its category whose
features have the largest cosine similarity with its own. The product and its copies have no vote,
because a wrong label that was copied together with the photo would confirm itself.

Shapes: N products, T of them to train on, n at a time, D features, A slots, k neighbours, V values.
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
_CHUNK = 8192  # products whose neighbours are searched at once


@dataclass(frozen=True, eq=False)
class Votes:
    """The neighbours' votes on each label, arrays (N, A).

    `num_voters` neighbours have a label of the attribute, `num_agreeing` of them the product's own.
    `winner` is the value with more votes than any other, -1 where there is none.
    """

    num_voters: NDArray[np.int64]
    num_agreeing: NDArray[np.int64]
    winner: NDArray[np.int64]


def collect_votes(
    features: Features,
    categories: Codes,
    labels: Codes,
    num_neighbours: int,
    *,
    reporter: Reporter = SILENT,
) -> Votes:
    """Let the `num_neighbours` most similar products vote; `labels` (N, A) are -1 where unknown.

    Leave out products without features (all 0): their neighbours would be arbitrary.
    """
    votes = Votes(*(np.zeros(labels.shape, dtype=np.int64) for _ in range(3)))
    votes.winner[:] = -1
    with reporter.bar("Collecting votes", len(labels)) as advance:
        for category in np.unique(categories):
            rows = np.flatnonzero(categories == category)
            own_features = features[rows]
            # Building a graph index takes longer than it saves in a single search.
            index = Index.build(own_features, "flat" if len(rows) <= MAX_FLAT_ROWS else "ivf")
            for start in range(0, len(rows), _CHUNK):
                own = np.arange(start, min(start + _CHUNK, len(rows)))
                near = _voters(index, own_features, own, num_neighbours)
                _count(votes, rows[own], labels, np.where(near >= 0, rows[near], -1))
                advance(len(own))
    return votes


def replace_labels(labels: Codes, votes: Votes) -> Codes:
    """The known labels replaced by the winners of the votes; a label without a winner is unchanged."""
    return np.where((labels >= 0) & (votes.winner >= 0), votes.winner, labels)


def agreement(votes: Votes) -> NDArray[np.float32]:
    """The weight (N, A) of each known label, above 0 and at most 1: (1 + a) / (1 + v).

    v neighbours have a label and a of them the same one. This is the label's share of the votes if the
    product votes too; without a voter it is 1.
    """
    return ((1 + votes.num_agreeing) / (1 + votes.num_voters)).astype(np.float32)


def _voters(index: Index, features: Features, own: Codes, num_neighbours: int) -> Codes:
    """The voters (len(own), k) for the products with the indices `own`, nearest first; -1 for none."""
    # Search for twice as many, since the product itself and its copies are dropped.
    distances, near = index.search(features[own], 2 * num_neighbours + 1)
    has_vote = (near >= 0) & (near != own[:, None]) & (distances > _COPY_DISTANCE)
    order = np.argsort(~has_vote, axis=1, kind="stable")[:, :num_neighbours]
    return np.take_along_axis(np.where(has_vote, near, -1), order, axis=1)


def _count(votes: Votes, rows: Codes, labels: Codes, voters: Codes) -> None:
    """Count the votes on the labels of `rows` and write them into `votes`."""
    cast = np.where(voters[:, :, None] >= 0, labels[voters], -1)  # n k A
    own = labels[rows]
    votes.num_voters[rows] = (cast >= 0).sum(axis=1)
    votes.num_agreeing[rows] = ((cast == own[:, None]) & (cast >= 0)).sum(axis=1)
    counts = count_votes(cast, int(labels.max(initial=0)) + 1)  # n A V
    most = counts.max(axis=-1)
    is_clear = (most > 0) & ((counts == most[..., None]).sum(axis=-1) == 1)
    votes.winner[rows] = np.where(is_clear, counts.argmax(axis=-1), -1)


_CLEANING = "cleaning.json"


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What was done to the training labels and products; None for steps that the recipe leaves out.

    `mean_weight` is the mean over the known labels of `agreement`, 0 to 1.
    """

    num_labels: int
    num_products: int
    num_replaced: int | None = None
    mean_weight: float | None = None
    num_per_epoch: int | None = None

    @property
    def sentences(self) -> list[str]:
        """One sentence for each step that was done."""
        sentences = []
        if self.num_replaced is not None:
            sentences.append(
                f"Of {self.num_labels:,} training labels {self.num_replaced:,} were replaced by what "
                "their neighbours vote for."
            )
        if self.mean_weight is not None:
            sentences.append(
                f"Their neighbours leave {self.num_labels:,} training labels a mean weight of "
                f"{self.mean_weight:.3f}."
            )
        if self.num_per_epoch is not None:
            sentences.append(
                f"An epoch shows {self.num_products:,} products {self.num_per_epoch:,} times in all."
            )
        return sentences

    def save(self, folder: Path) -> None:
        """Write it into the training's `folder`; write nothing if nothing was done."""
        if self.sentences:
            write_text(folder / _CLEANING, json.dumps(asdict(self), indent=1))


def read_cleaning(folder: Path) -> Sequence[str]:
    """Sentences on what the training in `folder` did to its labels; empty if it did nothing."""
    path = folder / _CLEANING
    return Cleaning(**json.loads(path.read_text(encoding="utf-8"))).sentences if path.is_file() else ()


def clean(
    examples: Examples,
    taxonomy: Taxonomy,
    config: CleanConfig,
    features: NDArray[np.float32] | None,
    reporter: Reporter,
) -> tuple[Examples, Cleaning]:
    """The examples with their training labels cleaned and weighted as `config` says.

    Neighbours are found by `features` (N, D); None skips the votes.
    """
    train = torch.from_numpy(examples.train)
    cleaning = Cleaning(
        num_labels=int((examples.labels[train] >= 0).sum()), num_products=len(examples.train)
    )
    if features is not None:
        examples, cleaning = _apply_votes(examples, config, features, cleaning, reporter)
    if config.upsample:
        heads = taxonomy.head_slots[examples.categories[train].numpy()]  # T A
        factors = repeat_factors(heads, examples.labels[train].numpy(), config.upsample)
        examples = replace(examples, factors=factors)
        cleaning = replace(cleaning, num_per_epoch=examples.num_per_epoch)
    return examples, cleaning


def _apply_votes(
    examples: Examples,
    config: CleanConfig,
    features: NDArray[np.float32],
    cleaning: Cleaning,
    reporter: Reporter,
) -> tuple[Examples, Cleaning]:
    """Replace or weight the training labels by their neighbours' votes."""
    train = torch.from_numpy(examples.train)
    labels_before = examples.labels[train].numpy()  # T A
    votes = collect_votes(
        features[examples.train],
        examples.categories[train].numpy(),
        labels_before,
        config.num_neighbours,
        reporter=reporter,
    )
    if config.neighbours == "replace":
        labels = examples.labels.clone()
        labels[train] = torch.from_numpy(replace_labels(labels_before, votes))
        num_replaced = int((labels != examples.labels).sum())
        return replace(examples, labels=labels), replace(cleaning, num_replaced=num_replaced)
    weights = torch.ones(examples.labels.shape)
    weights[train] = torch.from_numpy(agreement(votes))
    mean_weight = float(weights[train][labels_before >= 0].mean())
    return replace(examples, weights=weights), replace(cleaning, mean_weight=mean_weight)
