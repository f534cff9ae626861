"""What a report shows of single answers: the most confident ones with their photos, and all wrong ones.

Shapes: N products, A attributes (slots) of the category that has most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.predictions import Predictions, id_column
from facetry.product import Product, ProductId
from facetry.reports.pages import FIRST_ROW, thumbnail

SURE: Final = 0.9
"""The least confidence that a page calls sure. It is high because confidence is not calibrated."""

_MOST_CARDS = 100
_MOST_PER_GROUP = 8
_MOST_TRIES = 25  # products tried for one group; unreadable photos may leave it short

Verdict = Literal["right", "wrong", "unlabelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One predicted attribute of a card; `label` is None if it is not known."""

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
    """One product with its photo as a `data:` URL; `page` is the address of its page in the shop.

    `finding` is the row of its first wrong answer in `wrong_table`. It `is_sure` if the confidence by
    which it was ranked is at least `SURE`.
    """

    id: ProductId
    category: str
    page: str | None
    photo: str
    finding: int | None
    is_sure: bool
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One category's cards, the most confident first."""

    category: str
    right: tuple[Card, ...]
    wrong: tuple[Card, ...]

    @property
    def titled(self) -> list[tuple[str, tuple[Card, ...]]]:
        """The cards in up to four groups with their headings: only what is sure is called so."""
        groups = [
            ("Surely wrong", tuple(card for card in self.wrong if card.is_sure)),
            ("Wrong", tuple(card for card in self.wrong if not card.is_sure)),
            ("Surely right", tuple(card for card in self.right if card.is_sure)),
            ("Right", tuple(card for card in self.right if not card.is_sure)),
        ]
        return [(name, cards) for name, cards in groups if cards]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongAnswer:
    """One answer that is not the label; `finding` is its row in `wrong_table` with a header."""

    id: ProductId
    category: str
    page: str | None
    answer: Answer
    finding: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Predictions beside the labels of the same products: arrays (N, A) of what is known and missed."""

    predictions: Predictions
    products: Sequence[Product]
    known: NDArray[np.bool_]
    missed: NDArray[np.bool_]

    @classmethod
    def of(cls, predictions: Predictions, products: Sequence[Product]) -> "Compared":
        """Compare predictions with the labels of the products, which are in the same order."""
        codes = predictions.taxonomy.encode_labels(products)
        known = (codes >= 0) & predictions.head_mask
        missed = known & (predictions.top != codes)
        return cls(predictions=predictions, products=products, known=known, missed=missed)

    @cached_property
    def wrong(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and slots of the wrong answers, the most confident first."""
        rows, slots = np.nonzero(self.missed)
        order = np.argsort(-self.predictions.confidence[rows, slots], kind="stable")
        return rows[order], slots[order]

    @cached_property
    def findings(self) -> dict[int, int]:
        """The row in `wrong_table` of each product's first wrong answer, by the product's own row."""
        rows = self.wrong[0].tolist()
        return {row: number for number, row in reversed(list(enumerate(rows, start=FIRST_ROW)))}

    def answer(self, row: int, slot: int) -> Answer:
        """One predicted attribute of the product in a row."""
        predictions, product = self.predictions, self.products[row]
        head = predictions.taxonomy.heads_of(product.category)[slot]
        return Answer(
            attribute=head.attribute,
            value=head.values[predictions.top[row, slot]],
            confidence=float(predictions.confidence[row, slot]),
            label=product.labels.get(head.attribute),
        )


def wrong_answers(compared: Compared, most: int = 500) -> tuple[list[WrongAnswer], int]:
    """The most confident wrong answers, `most` at most, and how many wrong answers there are in all."""
    rows, slots = compared.wrong
    shown: list[WrongAnswer] = []
    for row, slot in zip(rows[:most].tolist(), slots[:most].tolist(), strict=True):
        product, answer = compared.products[row], compared.answer(row, slot)
        shown.append(
            WrongAnswer(
                id=product.id,
                category=product.category,
                page=product.page,
                answer=answer,
                finding=len(shown) + FIRST_ROW,
            )
        )
    return shown, len(rows)


def wrong_table(compared: Compared) -> pl.DataFrame:
    """All wrong answers, the most confident first.

    Its columns are id, category, attribute, value (the label), predicted, confidence, and photo, the
    paths of the product's photos with `|` between.
    """
    rows, slots = compared.wrong
    wrong = [compared.answer(*each) for each in zip(rows.tolist(), slots.tolist(), strict=True)]
    chosen = [compared.products[row] for row in rows.tolist()]
    photos = ["|".join(map(str, product.photos)) for product in chosen]
    return pl.DataFrame(
        {
            "id": id_column([product.id for product in chosen]),
            "category": pl.Series([product.category for product in chosen], dtype=pl.String),
            "attribute": pl.Series([each.attribute for each in wrong], dtype=pl.String),
            "value": pl.Series([each.label for each in wrong], dtype=pl.String),
            "predicted": pl.Series([each.value for each in wrong], dtype=pl.String),
            "confidence": pl.Series([round(each.confidence, 4) for each in wrong], dtype=pl.Float64),
            "photo": pl.Series(photos, dtype=pl.String),
        }
    )


def choose_cards(compared: Compared) -> list[Group]:
    """The most confident right and wrong products of each category, with a readable photo.

    Right: all known labels are predicted; ranked by the product's lowest confidence. Wrong: some label
    is not predicted; ranked by the highest confidence of a wrong prediction.
    """
    predictions, known, missed = compared.predictions, compared.known, compared.missed
    least = np.where(predictions.head_mask, predictions.confidence, 1).min(axis=1)  # N
    most = np.where(missed, predictions.confidence, 0).max(axis=1)
    is_wrong = np.asarray(missed.any(axis=1))  # N
    right = _ranked(least, np.asarray(known.any(axis=1)) & ~is_wrong)
    wrong = _ranked(most, is_wrong)
    categories = predictions.taxonomy.categories
    num_cards = max(1, min(_MOST_PER_GROUP, _MOST_CARDS // (2 * len(categories))))

    def cards(
        rows: NDArray[np.int64], category: int, confidence: NDArray[np.floating]
    ) -> tuple[Card, ...]:
        rows = rows[predictions.category_codes[rows] == category][:_MOST_TRIES]
        made = (_card(compared, int(row), is_sure=bool(confidence[row] >= SURE)) for row in rows)
        return tuple(islice((card for card in made if card), num_cards))

    groups = [
        Group(category=category, right=cards(right, index, least), wrong=cards(wrong, index, most))
        for index, category in enumerate(categories)
    ]
    return [group for group in groups if group.right or group.wrong]


def _ranked(confidence: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The chosen rows, most confident first, ties in table order."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _card(compared: Compared, row: int, *, is_sure: bool) -> Card | None:
    """The card of one row; None without a readable photo."""
    product = compared.products[row]
    photo = thumbnail(product)
    if photo is None:
        return None
    slots = np.flatnonzero(compared.predictions.head_mask[row]).tolist()
    return Card(
        id=product.id,
        category=product.category,
        page=product.page,
        photo=photo,
        finding=compared.findings.get(row),
        is_sure=is_sure,
        answers=tuple(compared.answer(row, slot) for slot in slots),
    )
