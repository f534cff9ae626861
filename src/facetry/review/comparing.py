"""Compares a newer model with the one in use, on labelled products that neither has learned from.

Shapes: N products, A slots, K labels.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.errors import NotEnoughData
from facetry.evaluation.held_out import trained_ids
from facetry.evaluation.metrics import Answers, harmonic_means, paired_difference, predict, total
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.runtime.progress import Reporter
from facetry.taxonomy import NO_CODE, Taxonomy

MOST_COMPARED: Final = 3000
"""Products that two models are compared on: more make the interval little smaller."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Scores of two models on the same labels, and how much higher that of the newer one is.

    `interval` is the paired 95% bootstrap interval of the difference: one that includes 0 shows none.
    """

    num_products: int
    num_labels: int
    score: float
    score_in_use: float
    difference: float
    interval: tuple[float, float]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Compared":
        """What `to_dict` gave."""
        return cls(**{**content, "interval": tuple(content["interval"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def verdict(self) -> str:
        """What the interval says, in words."""
        low, high = self.interval
        if low > 0:
            return "The newer one is better, by more than chance."
        if high < 0:
            return "The newer one is worse, by more than chance."
        return "No difference is shown: chance could explain it."


def unlearned(products: Sequence[Product], folders: Collection[Path]) -> list[Product]:
    """The labelled products that no model in some folders has learned from; a sample of very many.

    Raises:
        NotEnoughData: there is none.
    """
    learned = frozenset().union(*(trained_ids(each) for each in folders))
    found = [each for each in products if each.labels and str(each.id) not in learned]
    if not found:
        raise NotEnoughData(
            "There is no labelled product that neither model has learned from.",
            hint="Decide some cells, or train the newer one with the same split.",
        )
    draws = random.Random(0)
    return found if len(found) <= MOST_COMPARED else draws.sample(found, MOST_COMPARED)


def compare(
    newer: Predictor, in_use: Predictor, products: Sequence[Product], reporter: Reporter
) -> Compared:
    """Predict labelled products with both models, and compare their scores.

    Labels are those of the newer one's taxonomy: a value that the other does not know, it gets wrong.
    """
    taxonomy = newer.taxonomy
    labels = taxonomy.encode_labels(products)
    categories = taxonomy.encode_categories([each.category for each in products])

    def answers(predictor: Predictor, step: str) -> Answers:
        predictions = predict(predictor, products, reporter=reporter, description=step)
        return Answers.of(taxonomy, categories, labels, _translated(taxonomy, predictions))

    ours, theirs = (
        answers(each, step)
        for each, step in ((newer, "Predicting with the newer"), (in_use, "Predicting with that in use"))
    )
    found = paired_difference([ours], [theirs])
    score, score_in_use = (total(taxonomy, harmonic_means(each.counts)) for each in (ours, theirs))
    return Compared(
        num_products=len(products),
        num_labels=len(ours.labels),
        score=score,
        score_in_use=score_in_use,
        difference=found.mean,
        interval=found.interval,
    )


def _translated(taxonomy: Taxonomy, predictions: Predictions) -> NDArray[np.int64]:
    """The most probable values (N, A) in the codes and slots of another taxonomy."""
    own = predictions.taxonomy
    top = np.full((len(predictions), taxonomy.num_slots), NO_CODE, dtype=np.int64)
    for code, category in enumerate(own.categories):
        if category not in taxonomy.categories:
            continue
        rows = np.flatnonzero(predictions.category_codes == code)
        for slot, head in enumerate(taxonomy.heads_of(category)):
            attributes = own.attributes(category)
            if head.attribute not in attributes:
                continue
            found = own.head(category, head.attribute)
            codes = [head.values.index(v) if v in head.values else NO_CODE for v in found.values]
            tops = predictions.top[rows, attributes.index(head.attribute)]
            top[rows, slot] = np.array([*codes, NO_CODE])[tops]  # the last one is that of no answer, -1
    return top
