"""Makes a review of a catalogue: predicts it, and chooses what people are asked, by which stream.

Shapes: A slots.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import numpy as np
import polars as pl

from facetry.batch.local import BatchConfig, predict_table
from facetry.batch.manifest import read_rows
from facetry.batch.outputs import OutputConfig
from facetry.batch.shard import Shard, cut
from facetry.catalogue.catalogue import Catalogue
from facetry.confidence.novelty import NOVEL
from facetry.confidence.stream import MOST_ASKED
from facetry.predictions import OK
from facetry.product import Product
from facetry.review.answers import Stream
from facetry.review.recorder import Recorded, Recorder
from facetry.review.store.decisions import standing
from facetry.review.store.records import Review
from facetry.review.store.reviews import ReviewStore
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy

OVERLAP: Final = 0.05
"""The share of cells that two people decide."""

SAMPLE: Final = 0.1
"""The share of the cells that were not filled that are asked about at random."""

_ALIKE: Final = 0.5  # each further product that answers alike is worth so much of the one before
_FOLDER: Final = "reviews"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to review: a catalogue, opened from a path, with the model that answers, and its name."""

    name: str
    path: Path
    catalogue: Catalogue
    model: LoadedModel
    seed: int = 0


def prepare(plan: Plan, store: ReviewStore, data: Path, reporter: Reporter = SILENT) -> Review:
    """Predict a catalogue and store what people are asked about it; goes on where it was stopped.

    A review of the same name that is complete is returned as it is.

    Raises:
        CatalogueError: the catalogue has errors.
        FolderError, WriteFailed, PredictorMismatch, InputChanged, Stopped: as in `predict_table`.
    """
    review = _begin(plan, store)
    if review.is_ready:
        return review
    folder = folder_of(data, review)
    recorder = Recorder(plan.model.predictor, folder / "recorded")
    predict_table(
        recorder,
        plan.catalogue,
        folder / "predictions",
        BatchConfig(model=plan.model.fingerprint, outputs=OutputConfig(has_submission=False)),
        reporter=reporter,
    )
    chooser = Chooser(plan, Recorded.read(folder / "recorded"))
    num_done = store.num_products(review.id)
    for shard, rows in zip(cut(plan.catalogue), read_rows(folder / "predictions"), strict=True):
        products, cells = chooser.chosen(review, shard, rows)
        if products and products[0]["row"] >= num_done:
            store.add(products, cells)
    store.finish(review.id)
    return store.get(review.name)


def folder_of(data: Path, review: Review) -> Path:
    """The folder of a review's predictions and of what becomes of it."""
    return data / _FOLDER / review.id


def _begin(plan: Plan, store: ReviewStore) -> Review:
    found = next((each for each in store.all() if each.name == plan.name), None)
    if found is not None:
        return found
    promises = plan.model.promises
    review = Review(
        id=token_hex(8),
        name=plan.name,
        catalogue=str(plan.path.absolute()),
        model=plan.model.name,
        model_version=plan.model.version,
        precision=promises.target if promises else None,
        is_ready=False,
    )
    store.create(review)
    return review


class Chooser:
    """Chooses which cells people are asked about, why, and in which order."""

    def __init__(self, plan: Plan, recorded: Recorded) -> None:
        self._taxonomy: Taxonomy = plan.model.taxonomy
        self._recorded = recorded
        self._draws = random.Random(plan.seed)
        self._num_alike: Counter[tuple[str, ...]] = Counter()
        self._first_row = 0

    def chosen(
        self, review: Review, shard: Shard, rows: pl.DataFrame
    ) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        """The rows of a shard's products and of their cells, as the tables have them."""
        products: list[Mapping[str, Any]] = []
        cells: list[Mapping[str, Any]] = []
        records = rows.select("status", "predictions").iter_rows(named=True)
        for offset, (product, record) in enumerate(zip(shard.products, records, strict=True)):
            row = self._first_row + offset
            problem = "" if record["status"] == OK else record["status"]
            products.append(_product_row(review, row, product, problem))
            cells += self._cells(review, row, product, record["predictions"])
        self._first_row += len(shard.products)
        return products, cells

    def _cells(
        self, review: Review, row: int, product: Product, predictions: Sequence[Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        if product.category not in self._taxonomy.categories:
            return
        by_attribute = {each["attribute"]: each for each in predictions}
        signature = (product.category, *(each["value"] for each in predictions))
        worth = _ALIKE ** self._num_alike[signature]
        self._num_alike[signature] += 1
        for slot, index in enumerate(self._taxonomy.head_indices(product.category)):
            attribute = self._taxonomy.heads[index].attribute
            found = by_attribute.get(attribute)
            known = product.labels.get(attribute)
            stream = self._stream(found) if known is None and found is not None else ""
            value, source = standing(
                None, known, found["value"] if found else None, found["action"] if found else None
            )
            yield {
                "review": review.id,
                "row": row,
                "head": index,
                "known": known,
                "predicted": found["value"] if found else None,
                "confidence": found["confidence"] if found else None,
                "action": found["action"] if found else None,
                "alternatives": json.dumps(list((found or {}).get("alternatives") or ())),
                "stream": stream,
                "priority": worth * self._unsure(product, slot) if stream else 0.0,
                "num_wanted": 2 if stream and self._draws.random() < OVERLAP else 1,
                "num_decided": 0,
                "is_open": stream != "",
                "is_disputed": False,
                "value": value,
                "source": source,
            }

    def _stream(self, prediction: Mapping[str, Any]) -> Stream | str:
        """By which stream a blank cell is asked about; "" for not at all."""
        draw = self._draws.random()
        if prediction["action"] == "fill":
            return "audit" if draw < MOST_ASKED else ""
        if draw < SAMPLE:
            return "sample"
        return "novel" if prediction["reason"] == NOVEL else "useful"

    def _unsure(self, product: Product, slot: int) -> float:
        """How unsure the model is of a cell, by margin and entropy alike: 0 to 1."""
        index = self._recorded.rows.get(str(product.id))
        if index is None:
            return 0.0
        unsure = self._recorded.unsure
        return float(np.mean([unsure.margin[index, slot], unsure.entropy[index, slot]]))


def _product_row(review: Review, row: int, product: Product, problem: str) -> Mapping[str, Any]:
    return {
        "review": review.id,
        "row": row,
        "product_id": str(product.id),
        "category": product.category,
        "title": product.text,
        "photos": json.dumps([str(photo) for photo in product.photos]),
        "problem": problem,
        "is_flagged": False,
    }
