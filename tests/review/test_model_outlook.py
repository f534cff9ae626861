"""Drift between labelled products and stored predictions, and what more labels would buy here."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from facetry.confidence.calibration import promises_of
from facetry.confidence.drift.reference import save_reference
from facetry.confidence.drift.sample import Sample
from facetry.confidence.stream import precision_bounds
from facetry.errors import CalibrationError, DriftReferenceError, NotEnoughData
from facetry.models.folder import ModelFolder, open_folder
from facetry.review.model import outlook, quality
from facetry.service.database import Database
from tests.confidence.audited import add_answers, make_model
from tests.review.stored import REVIEW, SetClock, Stored
from tests.service.fakes import TAXONOMY

NUM_PRODUCTS = 200


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return make_model(tmp_path / "model", TAXONOMY, num_labels=[50, 0])


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """A review of products of the first head, for which "red" was predicted with 0.6."""
    opened = Database.open(sqlite_url)
    Stored.of(opened, SetClock()).add(range(NUM_PRODUCTS))
    yield opened
    opened.close()


def reference(value: str) -> Sample:
    """Labelled products of the first head, for all of which that value was predicted with 0.6."""
    head = TAXONOMY.heads[0]
    category = TAXONOMY.categories.index(head.category)
    return Sample(
        taxonomy=TAXONOMY,
        categories=np.full(NUM_PRODUCTS, category, dtype=np.int16),
        top=np.full((NUM_PRODUCTS, 1), head.values.index(value), dtype=np.int16),
        confidence=np.full((NUM_PRODUCTS, 1), 0.6, dtype=np.float32),
        quality=np.zeros((NUM_PRODUCTS, 0), dtype=np.float32),
        features=None,
    )


@pytest.mark.parametrize(("value", "verdict"), [("red", ""), ("blue", "drift")])
def test_drift_is_that_of_the_stored_predictions(
    folder: ModelFolder, database: Database, value: str, verdict: str
) -> None:
    save_reference(folder, reference(value))
    found = outlook.drift(folder, database, REVIEW, 1)
    assert {each["kind"]: each["verdict"] for each in found["shifts"]} == {
        "values": verdict,
        "confidence": "",
    }
    assert (found["num_products"], found["num_novel"]) == (NUM_PRODUCTS, 0)


def test_drift_needs_a_reference_and_products(folder: ModelFolder, database: Database) -> None:
    with pytest.raises(DriftReferenceError):
        outlook.drift(folder, database, REVIEW, 1)
    save_reference(folder, reference("red"))
    with pytest.raises(NotEnoughData):
        outlook.drift(folder, database, REVIEW, 2)  # a run that has seen nothing


def test_more_labels_fill_what_no_promise_fills_yet(folder: ModelFolder, database: Database) -> None:
    found = outlook.what_labels_buy(folder, None, database, REVIEW)
    first, other = found["heads"]
    assert found["target"] == outlook.DEFAULT_PRECISION
    assert (first["head"], first["now"], first["num_more"]) == (0, 0.0, NUM_PRODUCTS)
    assert (other["num_cells"], other["expected"]) == (0, None)


def test_a_model_that_is_not_calibrated_says_so(folder: ModelFolder, database: Database) -> None:
    (folder.path / "calibration.json").unlink()
    plain = open_folder(folder.path)
    assert not quality.reliability(plain)["is_calibrated"]
    assert quality.scores(plain) is None
    with pytest.raises(CalibrationError):
        outlook.what_labels_buy(plain, None, database, REVIEW)


def test_bounds_are_those_of_the_blind_answers(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "other", TAXONOMY, num_labels=[200, 0])
    add_answers(folder, 0, [None] * 50 + ["other"])
    found = quality.promised(promises_of(folder, 0.95), folder)
    audit = found["heads"][0]["audit"]
    assert (audit["num"], audit["num_right"]) == (51, 50)
    assert [each["num"] for each in audit["trail"]][-1] == 51
    expected = precision_bounds(np.arange(51) < 50, found["delta"])
    assert audit["trail"][-1]["lower"] == audit["lower"] == expected.lower
    assert not found["heads"][0]["is_withdrawn"]
    assert found["heads"][1]["audit"]["trail"] == []
