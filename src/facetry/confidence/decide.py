"""What to do with each cell: fill it, ask a person with a few values to choose from, or leave it open.

Shapes: B products, A slots, V values, H heads.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence
from facetry.confidence.pools import Promise
from facetry.predictions import ACTIONS, Decisions, Predictions
from facetry.taxonomy import Taxonomy

MISS_RATE: Final = 0.1
"""The share of cells whose label may be missing among the alternatives."""

MAX_SHOWN: Final = 5
"""With more alternatives than this there is nothing to choose from: a person has to look anyway."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """What decides, for each head (H).

    `fill_from` is the confidence from which a cell is filled, infinity where nothing is promised,
    `alternative_from` the probability from which a value of one that is not filled is an alternative.
    """

    fill_from: NDArray[np.float32]
    alternative_from: NDArray[np.float32]


def make_rules(
    taxonomy: Taxonomy,
    promises: Sequence[Promise],
    evidence: Evidence,
    withdrawn: Collection[int] = (),
) -> Rules:
    """The rules that follow from promises and from the evidence that they were made on.

    Nothing is filled of the heads, by index, whose promise was `withdrawn`. Alternatives are least
    ambiguous set-valued classifiers (Sadinle et al. 2019): their threshold is the probability that all
    but `MISS_RATE` of the labels have, among the cells that are not filled.
    """
    fill_from = np.full(taxonomy.num_heads, np.inf, dtype=np.float32)
    alternative_from = np.zeros(taxonomy.num_heads, dtype=np.float32)
    for promise in promises:
        own = evidence.of_heads(promise.pool.heads)
        start = np.float32(promise.threshold.confidence if promise.threshold else np.inf)
        for is_withdrawn, from_here in ((False, start), (True, np.float32(np.inf))):
            heads = [head for head in promise.pool.heads if (head in withdrawn) == is_withdrawn]
            fill_from[heads] = from_here
            alternative_from[heads] = _set_threshold(own.take(own.confidence < from_here))
    return Rules(fill_from=fill_from, alternative_from=alternative_from)


def _set_threshold(evidence: Evidence) -> float:
    """The probability from which values are alternatives; 0 if the labels are too few to say."""
    rank = int(MISS_RATE * (len(evidence) + 1))
    return float(np.sort(evidence.of_label)[rank - 1]) if rank else 0.0


def decide(predictions: Predictions, rules: Rules, reasons: Sequence[str] | None = None) -> Predictions:
    """Decide what to do with each prediction; nothing is filled of products that have a reason (B)."""
    reasons = tuple(reasons or ("",) * len(predictions))
    heads = predictions.taxonomy.heads_of_slots(predictions.category_codes)
    fill_from = np.where(heads >= 0, rules.fill_from[heads], np.inf)
    may_be_filled = np.array([not reason for reason in reasons], dtype=bool)
    is_filled = (predictions.confidence >= fill_from) & may_be_filled[:, None]
    floor = np.where(heads >= 0, rules.alternative_from[heads], np.inf)
    is_top = np.arange(predictions.taxonomy.num_values) == predictions.top[..., None]
    is_likely = predictions.probabilities >= floor[..., None]
    alternatives = predictions.value_mask & (is_top | (is_likely & ~is_filled[..., None]))
    sizes = alternatives.sum(axis=2)
    num_values = predictions.value_mask.sum(axis=2)
    says_nothing = (sizes > MAX_SHOWN) | ((sizes == num_values) & (num_values > 2))
    action = np.select(
        [~predictions.head_mask, is_filled, says_nothing & may_be_filled[:, None]],
        [-1, ACTIONS.index("fill"), ACTIONS.index("abstain")],
        ACTIONS.index("review"),
    )
    decisions = Decisions(actions=action.astype(np.int8), alternatives=alternatives, reasons=reasons)
    return replace(predictions, decisions=decisions)
