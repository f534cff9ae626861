"""What may change: drift of the predictions, and what more labels would buy.

Shapes: N products, A attributes (slots) of the category that has most.
"""

from itertools import groupby
from typing import Any, Final

import numpy as np

from facetry.confidence.calibration import stored_calibration
from facetry.confidence.drift.compare import compare_answers
from facetry.confidence.drift.reference import read_reference
from facetry.confidence.drift.report import change_of, verdict
from facetry.confidence.drift.sample import MAX_PRODUCTS, Sample
from facetry.confidence.more_labels import NUM_MORE, more_labels
from facetry.confidence.promises import Promises, make_promises
from facetry.models.folder import ModelFolder
from facetry.review.store.figures import fillable, num_novel, predicted
from facetry.review.store.records import Review
from facetry.service.database import Database
from facetry.taxonomy import Taxonomy

DEFAULT_PRECISION: Final = 0.95

Row = dict[str, Any]


def drift(folder: ModelFolder, database: Database, review: Review, run: int) -> Row:
    """How far what a run predicted here is from what was of the labelled products, by head.

    Raises:
        DriftReferenceError: the model's folder keeps nothing to compare with.
        NotEnoughData: this review has too few products.
    """
    reference = read_reference(folder)
    with database.reading() as connection:
        sample = _sample(folder.taxonomy, predicted(connection, review, run, MAX_PRODUCTS))
        novel = num_novel(connection, review)
    shifts = compare_answers(reference, sample)
    rows = [
        {
            "category": each.category,
            "name": each.name,
            "kind": each.kind,
            "change": change_of(each),
            "verdict": verdict(each),
            "size": each.effect.size,
            "low": each.effect.low,
            "high": each.effect.high,
        }
        for each in shifts
    ]
    return {"shifts": rows, "num_products": len(sample), "num_novel": novel}


def _sample(taxonomy: Taxonomy, cells: list[Any]) -> Sample:
    """The predictions of stored cells, which come product by product."""
    products = [list(each) for _, each in groupby(cells, key=lambda cell: cell["row"])]
    shape = (len(products), taxonomy.num_slots)
    top, confidence = np.full(shape, -1, dtype=np.int16), np.zeros(shape, dtype=np.float32)
    categories = np.zeros(len(products), dtype=np.int16)
    for row, own in enumerate(products):
        category = taxonomy.heads[own[0]["head"]].category
        categories[row] = taxonomy.categories.index(category)
        first = taxonomy.head_indices(category).start
        for cell in own:
            values, slot = taxonomy.heads[cell["head"]].values, cell["head"] - first
            top[row, slot] = values.index(cell["predicted"])
            confidence[row, slot] = cell["confidence"]
    return Sample(
        taxonomy=taxonomy,
        categories=categories,
        top=top,
        confidence=confidence,
        quality=np.empty((len(products), 0), dtype=np.float32),
        features=None,
    )


def what_labels_buy(
    folder: ModelFolder, promises: Promises | None, database: Database, review: Review
) -> Row:
    """What more labels of each head would let be filled here, those that buy most cells first.

    Raises:
        CalibrationError: the model is not calibrated.
    """
    if promises is None:
        evidence = stored_calibration(folder).evidence
        promises = make_promises(evidence, folder.taxonomy, DEFAULT_PRECISION)
    with database.reading() as connection:
        cells = fillable(connection, review)
    rows = [_bought(promises, head, cells.get(head)) for head in range(folder.taxonomy.num_heads)]
    rows.sort(key=lambda each: (-each["num_more"], each["head"]))
    return {"target": promises.target, "num_labels": NUM_MORE, "heads": rows}


def _bought(promises: Promises, head: int, confidence: Any) -> Row:
    """The cells of a head that are filled now, and that would be."""
    cells = np.empty(0) if confidence is None else confidence
    promise = next(each for each in promises.promises if head in each.pool.heads)
    filled = 0.0
    if promise.threshold and len(cells) and head not in promises.withdrawn:
        filled = float((cells >= promise.threshold.confidence).mean())
    found = more_labels(promises, head, cells)
    more = max(0.0, found.expected - filled) * len(cells) if found else 0.0
    return {
        "head": head,
        "num_cells": len(cells),
        "now": filled,
        "expected": found.expected if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "num_more": round(more),
    }
