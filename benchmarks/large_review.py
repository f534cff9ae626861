"""A review in which months of work lie: as many products as one likes, with what people decided of them.

The heads are the challenge's, about eight a category. Half of the cells have a value in the table; of
the blanks a model has filled more than half, and people are asked about the others. Streams, decisions,
disputes and proposals are mixed as a shop's would be.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import insert

from benchmarks.challenge import challenge_taxonomy
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.review.store.decisions import standing
from facetry.review.store.records import Review
from facetry.review.store.reviews import ReviewStore
from facetry.runtime.prefetch import batched
from facetry.service.database import Database
from facetry.service.models import LoadedModel
from facetry.service.tables import REVIEW_EVENTS
from facetry.taxonomy import Taxonomy

PEOPLE: Final = tuple(f"person{number}" for number in range(5))

_BEGIN: Final = 1_760_000_000.0  # when the first decision was made, seconds since 1970
_PRODUCTS_AT_ONCE: Final = 1000
_KNOWN, _FILLED = 0.5, 0.6  # shares: of all cells, and of the blank ones
_OF_FILLED: Final = {"audit": 0.03, "": 0.97}
_OF_OTHERS: Final = {"useful": 0.82, "sample": 0.1, "novel": 0.05, "": 0.03}
_OF_KNOWN: Final = {"label": 0.02, "": 0.98}
_DECIDED, _DISPUTED, _PROPOSED = 0.1, 0.01, 0.01  # of those that are asked; the latter of the decided
_WORDS: Final = [
    "Cotton",
    "Silk",
    "Printed",
    "Woven",
    "Trendy",
    "Women",
    "Men",
    "Festive",
    "Casual",
    "Blue",
    "Pink",
    "Combo",
    "Latest",
]


@dataclass(frozen=True, kw_only=True)
class LargeReview:
    """What to draw; `photo` is every product's."""

    num_products: int = 100_000
    name: str = "large"
    photo: Path = Path("photo.jpg")
    seed: int = 0


def write_large_review(database: Database, large: LargeReview) -> Review:
    """Draw a review and store it; returns it."""
    store = ReviewStore(database)
    review = Review(
        id=f"large{large.seed}",
        name=large.name,
        catalogue=large.name,
        model="shop",
        model_version="1",
        precision=0.95,
        is_ready=True,
    )
    store.create(review)
    drawing = _Drawing(challenge_taxonomy(), large, review)
    for rows in batched(range(large.num_products), _PRODUCTS_AT_ONCE):
        products, cells, events = drawing.draw(rows)
        store.add(products, cells)
        with database.transaction() as connection:
            connection.execute(insert(REVIEW_EVENTS), events)
    with database.transaction() as connection:
        connection.exec_driver_sql("ANALYZE")
    return review


class _Drawing:
    """Draws the rows of the tables."""

    def __init__(self, taxonomy: Taxonomy, large: LargeReview, review: Review) -> None:
        self._taxonomy = taxonomy
        self._large = large
        self._review = review
        self._rng = np.random.default_rng(large.seed)
        self._num_events = 0

    def draw(self, rows: Sequence[int]) -> tuple[list[Any], list[Any], list[Any]]:
        """Products, cells and events."""
        products = [self._product(row) for row in rows]
        cells = [cell for product in products for cell in self._cells(product)]
        events = [event for cell in cells if cell["num_decided"] for event in self._events(cell)]
        return products, cells, events

    def _product(self, row: int) -> dict[str, Any]:
        rng = self._rng
        categories = self._taxonomy.categories
        return {
            "review": self._review.id,
            "row": row,
            "product_id": f"SKU-{row:07}",
            "category": categories[int(rng.integers(len(categories)))],
            "title": " ".join(rng.choice(_WORDS, 6)),
            "photos": json.dumps([str(self._large.photo)]),
            "problem": "",
            "is_flagged": bool(rng.random() < 0.002),
        }

    def _cells(self, product: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for head in self._taxonomy.head_indices(product["category"]):
            yield self._cell(product["row"], head)

    def _cell(self, row: int, head: int) -> dict[str, Any]:
        values = self._taxonomy.heads[head].values
        likely = [values[index] for index in self._rng.permutation(len(values))[:4]]
        draws = self._rng.random(7)
        known = likely[0] if draws[0] < _KNOWN else None
        is_filled = bool(draws[1] < _FILLED)
        mix = _OF_KNOWN if known else _OF_FILLED if is_filled else _OF_OTHERS
        stream = _pick(mix, draws[2])
        cell: dict[str, Any] = {
            "review": self._review.id,
            "row": row,
            "head": head,
            "known": known,
            "predicted": likely[-1],
            "confidence": float(0.8 + 0.2 * draws[3] if is_filled else 0.8 * draws[3]),
            "action": "fill" if is_filled else "review" if draws[3] > 0.3 else "abstain",
            "alternatives": json.dumps(likely),
            "stream": stream,
            "priority": float(draws[4]) if stream else 0.0,
            "num_wanted": 2 if stream and draws[5] < 0.05 else 1,
            "num_decided": 0,
            "is_open": stream != "",
            "is_disputed": False,
            "decided": None,
            "decided_by": None,
            "decided_at": None,
            "proposed": None,
        }
        if stream and draws[6] < _DECIDED:
            self._decide(cell, likely[0], draws[6] / _DECIDED)
        value, source = standing(cell["decided"], known, cell["predicted"], cell["action"])
        return {**cell, "value": value, "source": source}

    def _decide(self, cell: dict[str, Any], answer: str, draw: float) -> None:
        cell.update(is_open=False, num_decided=cell["num_wanted"])
        if draw < _DISPUTED:
            cell.update(is_disputed=True, num_wanted=2, num_decided=2)
        elif draw < _DISPUTED + _PROPOSED:
            cell.update(proposed="a value of their own")
        else:
            at = _BEGIN + 2.0 * self._num_events
            cell.update(decided=answer, decided_by=PEOPLE[cell["row"] % len(PEOPLE)], decided_at=at)

    def _events(self, cell: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What people said of a decided cell, one after the other."""
        answer = cell["decided"] or cell["proposed"] or cell["predicted"]
        answers = [answer] * cell["num_decided"]
        if cell["is_disputed"]:
            answers[1] = "another value"
        for index, each in enumerate(answers):
            self._num_events += 1
            yield {
                "key": f"{self._review.id}-{cell['row']}-{cell['head']}-{index}",
                "review": cell["review"],
                "row": cell["row"],
                "head": cell["head"],
                "kind": "proposed" if cell["proposed"] else "value",
                "answer": each,
                "person": PEOPLE[(cell["row"] + index) % len(PEOPLE)],
                "at": _BEGIN + 2.0 * self._num_events,
                "seconds": 2.0,
                "predicted": cell["predicted"],
                "confidence": cell["confidence"],
                "was_shown": cell["stream"] not in {"audit", "sample"},
                "stream": cell["stream"],
                "model_version": self._review.model_version,
                "known": cell["known"],
            }


def _pick(shares: Mapping[str, float], draw: float) -> str:
    """One of several by their shares, which sum to 1; `draw` is from 0 to 1."""
    for each, share in shares.items():
        if draw < share:
            return each
        draw -= share
    return ""


class EvenPredictor:
    """Finds all values of a head equally likely: pages need a model, and nothing is predicted here."""

    def __init__(self) -> None:
        self.taxonomy = challenge_taxonomy()
        self.preprocesses = (Preprocess(size_px=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),)

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict."""
        mask = self.taxonomy.value_mask
        codes = self.taxonomy.encode_categories([each.category for each in products])
        values = (mask / np.maximum(mask.sum(axis=2, keepdims=True), 1))[codes].astype(np.float32)
        return Predictions.of(self.taxonomy, products, values)


def load_even(name: str, path: Path) -> LoadedModel:
    """A model for the pages of a large review; its folder is nowhere on disk."""
    folder = ModelFolder(
        path=path, recipe={"kind": "classifier"}, checksums={}, checksums_file=b"{}", members={}
    )
    predictor = EvenPredictor()
    vars(folder)["taxonomy"] = predictor.taxonomy
    return LoadedModel(name=name, folder=folder, predictor=predictor, fingerprint="1" * 12)
