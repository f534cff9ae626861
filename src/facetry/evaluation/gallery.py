"""The report's photos: for each category what was answered surely and right, surely and wrong.

Shapes: N products, A attributes (slots) of the category that has most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facetry.pages.photos import thumbnail
from facetry.predictions import Predictions
from facetry.product import Product, ProductId

_MOST_CARDS = 80
_MOST_PER_GROUP = 4
_MOST_TRIES = 25  # photos looked at for one group before it stays short

Verdict = Literal["right", "wrong", "unlabelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One attribute of a card; `label` is what was known, None where nothing was."""

    attribute: str
    value: str
    confidence: float
    label: str | None

    @property
    def verdict(self) -> Verdict:
        """How the value compares to the label."""
        if self.label is None:
            return "unlabelled"
        return "right" if self.value == self.label else "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One product with its photo as a `data:` address."""

    id: ProductId
    category: str
    photo: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One category's cards, the surest first."""

    category: str
    right: tuple[Card, ...]
    wrong: tuple[Card, ...]


def choose_cards(predictions: Predictions, products: Sequence[Product]) -> list[Group]:
    """The surest right and the surest wrong products of each category whose photo can be read.

    Right: every known label is met; the surest has the highest least confidence. Wrong: some label
    is missed; the surest has the highest confidence where it missed.
    """
    codes = predictions.taxonomy.encode_labels(products)  # N A
    known = (codes >= 0) & predictions.head_mask
    missed = known & (predictions.top != codes)
    least = np.where(predictions.head_mask, predictions.confidence, 1).min(axis=1)  # N
    most = np.where(missed, predictions.confidence, 0).max(axis=1)
    right = _ranked(least, known.any(axis=1) & ~missed.any(axis=1))
    wrong = _ranked(most, missed.any(axis=1))
    categories = predictions.taxonomy.categories
    num_cards = max(1, min(_MOST_PER_GROUP, _MOST_CARDS // (2 * len(categories))))

    def cards(rows: NDArray[np.int64], category: int) -> tuple[Card, ...]:
        rows = rows[predictions.category_codes[rows] == category][:_MOST_TRIES]
        made = (_card(predictions, products[row], int(row)) for row in rows)
        return tuple(islice((card for card in made if card), num_cards))

    groups = [
        Group(category=category, right=cards(right, index), wrong=cards(wrong, index))
        for index, category in enumerate(categories)
    ]
    return [group for group in groups if group.right or group.wrong]


def _ranked(confidence: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The chosen rows, surest first, equals in table order."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _card(predictions: Predictions, product: Product, row: int) -> Card | None:
    """The card of one row; None without a photo that can be read."""
    photo = thumbnail(product)
    if photo is None:
        return None
    heads = predictions.taxonomy.heads_of(product.category)
    answers = tuple(
        Answer(
            attribute=head.attribute,
            value=head.values[predictions.top[row, slot]],
            confidence=float(predictions.confidence[row, slot]),
            label=product.labels.get(head.attribute),
        )
        for slot, head in enumerate(heads)
        if head.values
    )
    return Card(id=product.id, category=product.category, photo=photo, answers=answers)
