"""What to do with each cell: fill it, ask a person with a few values to choose from, or leave it open.

Shapes: B products, A slots, V values, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence
from facetry.confidence.pools import Promise
from facetry.predictions import Predictions
from facetry.taxonomy import Taxonomy

Action = Literal["fill", "review", "abstain"]
ACTIONS: Final[tuple[Action, ...]] = ("fill", "review", "abstain")

MISS_RATE: Final = 0.1
"""The share of cells whose label may be missing among the alternatives."""

MAX_SHOWN: Final = 5
"""With more alternatives than this there is nothing to choose from: a person has to look anyway."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """What decides, for each head (H).

    `fill_from` is the confidence from which a cell is filled, infinity where nothing is promised,
    `alternative_from` the probability from which a value is an alternative.
    """

    fill_from: NDArray[np.float64]
    alternative_from: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """The index into `ACTIONS` of each cell (B, A), -1 without one; its alternatives (B, A, V)."""

    actions: NDArray[np.int8]
    alternatives: NDArray[np.bool_]


def make_rules(taxonomy: Taxonomy, promises: Sequence[Promise], evidence: Evidence) -> Rules:
    """The rules that follow from promises and from the evidence that they were made on.

    Alternatives are least ambiguous set-valued classifiers (Sadinle et al. 2019): their threshold is
    the probability that all but `MISS_RATE` of the labels have, among the cells that are not filled.
    """
    fill_from = np.full(taxonomy.num_heads, np.inf)
    alternative_from = np.zeros(taxonomy.num_heads)
    for promise in promises:
        heads = list(promise.pool.heads)
        if promise.threshold:
            fill_from[heads] = promise.threshold.confidence
        own = evidence.of_heads(heads)
        left = own.take(own.confidence < fill_from[heads[0]])
        alternative_from[heads] = _set_threshold(left)
    return Rules(fill_from=fill_from, alternative_from=alternative_from)


def _set_threshold(evidence: Evidence) -> float:
    """The probability from which values are alternatives; 0 if the labels are too few to say."""
    rank = int(MISS_RATE * (len(evidence) + 1))
    return float(np.sort(evidence.of_label)[rank - 1]) if rank else 0.0


def decide(
    predictions: Predictions, rules: Rules, is_novel: NDArray[np.bool_] | None = None
) -> Decisions:
    """Decide what to do with each cell; nothing is filled of products (B) that are novel."""
    heads = predictions.taxonomy.heads_of_slots(predictions.category_codes)
    fill_from = np.where(heads >= 0, rules.fill_from[heads], np.inf)
    is_filled = predictions.confidence >= fill_from
    if is_novel is not None:
        is_filled &= ~is_novel[:, None]
    floor = np.where(heads >= 0, rules.alternative_from[heads], np.inf)
    is_top = np.arange(predictions.taxonomy.num_values) == predictions.top[..., None]
    alternatives = predictions.value_mask & ((predictions.probabilities >= floor[..., None]) | is_top)
    sizes = alternatives.sum(axis=2)
    num_values = predictions.value_mask.sum(axis=2)
    says_nothing = (sizes > MAX_SHOWN) | ((sizes == num_values) & (num_values > 2))
    actions = np.select([~predictions.head_mask, is_filled, says_nothing], [-1, 0, 2], 1)
    return Decisions(actions=actions.astype(np.int8), alternatives=alternatives)
