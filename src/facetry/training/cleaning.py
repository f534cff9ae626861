"""Cleaning and balancing of the training labels, each a switch of the recipe.

Shapes: N products, T of them to train on, A slots, D features.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facetry.files import write_text
from facetry.progress import Reporter
from facetry.taxonomy import Taxonomy
from facetry.training.balance import repeat_factors
from facetry.training.config import CleanConfig
from facetry.training.data import Examples
from facetry.training.neighbours import agreement, poll_neighbours, replace_labels

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
