"""The model of Python's interface: DataFrames in, DataFrames of the same kind out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import facetry
from facetry.build.model import Model, fit, load
from facetry.catalogue.catalogue import open_catalogue
from facetry.errors import (
    CalibrationError,
    EngineError,
    FolderOccupied,
    NotEnoughData,
    RecipeError,
    SettingError,
)
from facetry.images import load_batches
from facetry.training.tracking.records import EpochRecord, StepRecord
from tests.conftest import NANO_RECIPE

RECIPE: Mapping[str, object] = {**NANO_RECIPE, "training": {"epochs": 1, "batch_size": 16}}


class Listener:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []
        self.is_done = False

    def log_step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def log_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def finish(self) -> None:
        self.is_done = True


@pytest.fixture(scope="module")
def frame(drawn: Path) -> pl.DataFrame:
    """The drawn catalogue as a caller has it, with names of their own."""
    table = pl.read_csv(drawn / "train.csv")
    return table.rename({"id": "sku", "Category": "type", "attr_1": "color"})


@pytest.fixture(scope="module")
def with_missing(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with a product in front that has no photo."""
    missing = frame.head(1).with_columns(sku=pl.lit(10**8, pl.Int64))
    return pl.concat([missing, frame])


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame, drawn: Path, listener: Listener) -> Model:
    return fit(
        frame,
        recipe=RECIPE,
        images=drawn / "train_images",
        callbacks=[listener],
        id="sku",
        category="type",
        targets=["color"],
    )


def test_predict_gives_each_row_of_the_frame_its_values(
    model: Model, with_missing: pl.DataFrame
) -> None:
    made = model.predict(with_missing)
    assert made.columns == ["sku", "type", "problem", "color", "color_confidence"]
    assert made["sku"].to_list() == with_missing["sku"].to_list()
    missing, answered = made.head(1), made.tail(-1)
    assert missing["problem"].to_list() == ["file not found"]
    assert missing.select("color", "color_confidence").row(0) == (None, None)
    assert answered["problem"].null_count() == answered.height
    assert answered["color"].null_count() == 0
    assert answered["color_confidence"].is_between(0, 1).all()


def test_a_pandas_frame_gives_the_same_as_pandas(model: Model, frame: pl.DataFrame) -> None:
    made = model.predict(frame.to_pandas())
    assert isinstance(made, pd.DataFrame)
    assert made["color"].tolist()[:5] == model.predict(frame)["color"].to_list()[:5]


def test_every_value_has_its_probability(model: Model, frame: pl.DataFrame) -> None:
    made = model.predict_proba(frame.head(8))
    assert made.columns == ["sku", "type", "attribute", "value", "probability"]
    sums = made.group_by("sku").agg(pl.col("probability").sum(), pl.col("value").n_unique())
    assert np.allclose(sums["probability"], 1, atol=1e-4)
    best = made.sort("probability").group_by("sku").last().sort("sku")["value"]
    answers = model.predict(frame.head(8)).filter(pl.col("problem").is_null()).sort("sku")["color"]
    assert best.to_list() == answers.to_list()


def test_evaluates_on_the_part_that_it_has_not_learned_from(model: Model, frame: pl.DataFrame) -> None:
    assert model.catalogue is not None
    held_out = facetry.read_split(model.folder.path / "split.parquet", model.catalogue)
    own, again = model.evaluate(), model.evaluate(frame.to_pandas())
    assert repr(own).startswith(f"<Evaluation: score {own.scores.total:.4f} (95% interval ")
    assert len(own.products) == len(held_out.rows("test"))
    assert own.predictions.ids == again.predictions.ids
    assert own.scores.total == again.scores.total
    assert isinstance(own.by_head(), pl.DataFrame)
    assert isinstance(again.by_head(), pd.DataFrame)
    assert own.by_head()["attribute"].unique().to_list() == ["color"]


def test_a_frame_without_labels_cannot_be_scored(model: Model, frame: pl.DataFrame) -> None:
    with pytest.raises(NotEnoughData, match="no labelled product"):
        model.evaluate(frame.with_columns(color=pl.lit(None, pl.String)))


def test_callbacks_are_told(model: Model, listener: Listener) -> None:
    assert model.folder.kind == "classifier"
    assert [each.epoch for each in listener.epochs] == [1]
    assert [each.step for each in listener.steps] == list(range(1, len(listener.steps) + 1))
    assert listener.is_done


def test_a_callback_that_fails_does_not_stop_training(
    frame: pl.DataFrame, drawn: Path, tmp_path: Path
) -> None:
    class Failing(Listener):
        def log_step(self, record: StepRecord) -> None:
            super().log_step(record)
            raise RuntimeError("no")

    failing = Failing()
    columns = {"id": "sku", "category": "type", "targets": ["color"]}
    made = fit(
        frame,
        recipe=RECIPE,
        images=drawn / "train_images",
        callbacks=[failing],
        out=tmp_path / "model",
        **columns,  # type: ignore[arg-type]
    )
    assert made.folder.path == tmp_path / "model"
    assert len(failing.steps) == 1


def test_saved_and_loaded_it_answers_the_same(
    model: Model, frame: pl.DataFrame, drawn: Path, tmp_path: Path
) -> None:
    saved = model.save(tmp_path / "model")
    with pytest.raises(FolderOccupied):
        model.save(saved)
    loaded = load(saved)
    answers = loaded.predict(frame, images=drawn / "train_images", id="sku", category="type")
    assert answers.equals(model.predict(frame))
    with pytest.raises(SettingError, match="was loaded, not fitted"):
        loaded.evaluate()


def test_features_are_the_same_on_every_engine(
    model: Model, with_missing: pl.DataFrame, drawn: Path, tmp_path: Path
) -> None:
    features = model.embed(with_missing)
    assert features.shape == (with_missing.height, 192)
    assert not features[0].any()
    assert features[1:].any(axis=1).all()
    converted = load(model.save(tmp_path / "model"), "openvino")
    others = converted.embed(with_missing, images=drawn / "train_images", id="sku", category="type")
    np.testing.assert_allclose(others, features, atol=1e-4)
    assert converted.embed(
        with_missing.head(1), images=drawn / "train_images", id="sku", category="type"
    ).shape == (1, 192)


def test_promises_are_based_on_labels_that_it_has_not_learned_from(
    model: Model, frame: pl.DataFrame, drawn: Path, tmp_path: Path
) -> None:
    saved = load(model.save(tmp_path / "model"))
    with pytest.raises(CalibrationError, match="no labels that it did not learn from"):
        saved.at_precision(0.2)
    test = pl.read_parquet(saved.folder.path / "split.parquet").filter(part="test")["id"]
    held_out = frame.filter(pl.col("sku").is_in(test.implode()))
    shop = {"images": drawn / "train_images", "id": "sku", "category": "type"}
    calibrated = saved.calibrate(held_out, **shop, targets=["color"])
    made = calibrated.at_precision(0.01).predict(held_out, **shop)
    assert set(made["color_action"].drop_nulls()) == {"fill"}
    with pytest.raises(CalibrationError, match=r"No head can promise a precision of 0\.999"):
        calibrated.at_precision(0.999)


def test_a_kind_without_features_says_so(tiny_model: Path) -> None:
    class Plain:
        taxonomy = load(tiny_model).taxonomy
        preprocesses = ()

    wrapped = Model(folder=load(tiny_model).folder, predictor=Plain())  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="has no features"):
        wrapped.embed([])


def test_a_model_is_a_predictor(tiny_model: Path, drawn: Path) -> None:
    """So the functions that know the protocol alone take it."""
    loaded = load(tiny_model)
    products = open_catalogue(drawn).products(range(12))
    assert len(facetry.predict(loaded, products)) == 12
    batch = next(iter(load_batches(products, loaded.preprocesses)))
    assert loaded.predict(batch).ids == tuple(each.id for each in batch)
    assert isinstance(loaded, facetry.Embedder)
    predictions, features = loaded.predict_and_embed(batch)
    assert np.array_equal(predictions.probabilities, loaded.predict(batch).probabilities)
    np.testing.assert_allclose(features, loaded.embed(batch), atol=1e-5)
    assert "42 heads" in repr(loaded)


def test_an_unknown_engine_or_recipe(tiny_model: Path, frame: pl.DataFrame) -> None:
    with pytest.raises(SettingError, match="openvin"):
        load(tiny_model, "openvin")
    with pytest.raises(RecipeError, match="none of that name"):
        fit(frame, recipe="mobilenet", id="sku", category="type", targets=["color"])
