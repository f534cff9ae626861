"""Jobs under a promise: what is not promised is left to people, with what to choose from beside it."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from facetry.confidence.calibration import stored_calibration, with_calibration
from facetry.models.folder import ModelFolder
from facetry.service.models import LoadedModel, ServedModel
from facetry.service.problems import Problem
from tests.confidence.audited import make_model
from tests.service.jobs.shop import TAXONOMY, Shop, Sure, photos, rows, table

COLOUR_OF_TEES = [(head.category, head.attribute) == ("Tees", "colour") for head in TAXONOMY.heads]


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    """A model that promises 0.95 for the colour of tees alone."""
    num_labels = [200 if is_promised else 0 for is_promised in COLOUR_OF_TEES]
    return make_model(tmp_path / "model", TAXONOMY, num_labels=num_labels)


@pytest.fixture
def shop(tmp_path: Path, model: ModelFolder) -> Iterator[Shop]:
    made = Shop(tmp_path / "data")
    predictor = with_calibration(Sure(), stored_calibration(model))
    batcher: Any = SimpleNamespace(lock=threading.Lock())
    loaded = LoadedModel(name="shop", folder=model, predictor=predictor, fingerprint="one")
    made.models = SimpleNamespace(get=lambda _: ServedModel(loaded=loaded, batcher=batcher))
    yield made
    made.database.close()
    assert made.deaths == []


def test_only_what_is_promised_is_filled(shop: Shop) -> None:
    job = shop.work(shop.send(table(), photos(), precision=0.95))
    assert job.state == "done", job.error
    found = pl.read_csv(shop.folder(job) / "filled.csv", infer_schema=False)
    assert found.columns == [
        *("sku", "type", "colour", "colour action", "colour confidence", "colour alternatives"),
        *("neck", "neck action", "neck confidence", "neck alternatives"),
    ]
    assert found["colour"].to_list() == [colour or "black" for _, _, colour, _ in rows(8)]
    assert found["neck"].null_count() == 8
    assert job.summary is not None
    filled = {each["column"]: each["num_filled"] for each in job.summary["columns"]}
    assert filled == {"colour": 4, "neck": 0}


def test_without_a_precision_the_plain_model_answers(shop: Shop) -> None:
    job = shop.work(shop.send(table(), photos()))
    assert job.state == "done", job.error
    found = pl.read_csv(shop.folder(job) / "filled.csv", infer_schema=False)
    assert found.columns == ["sku", "type", "colour", "neck"]
    assert found["neck"].null_count() == 4


def test_precision_of_the_service_is_that_of_jobs(shop: Shop) -> None:
    shop.config = shop.config.model_copy(update={"precision": 0.95})
    assert shop.send(table(), photos()).options.precision == 0.95
    assert shop.send(table(), photos(), precision=0.9).options.precision == 0.9


def test_precision_that_nothing_promises_is_refused(shop: Shop) -> None:
    with pytest.raises(Problem, match="can promise a precision") as found:
        shop.send(table(), photos(), precision=0.9999)
    assert found.value.reason == "invalid"
    assert "Ask for" in found.value.hint


def test_promised_answers_are_told_from_others(shop: Shop) -> None:
    model = shop.models.get(None)
    prints = {model.for_job(precision).fingerprint for precision in (None, 0.9, 0.95)}
    assert len(prints) == 3
    assert model.for_job(0.95).fingerprint == model.for_job(0.95).fingerprint


def test_model_folder_that_was_removed_is_no_error_in_the_service(
    shop: Shop, model: ModelFolder
) -> None:
    shutil.rmtree(model.path)
    assert shop.work(shop.send(table(), photos())).state == "done"
    with pytest.raises(Problem, match="not calibrated") as found:
        shop.send(table(), photos(), precision=0.95)
    assert str(model.path.parent) not in found.value.message
