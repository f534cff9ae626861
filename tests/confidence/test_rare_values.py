"""The submission's values: chosen with biases, and kept apart from what is filled in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray

from facetry.batch.local import BatchConfig, predict_table
from facetry.batch.manifest import from_bytes, to_bytes
from facetry.confidence.calibration import CalibratedPredictor, Calibration, read_calibration
from facetry.confidence.cells import LabelledCells
from facetry.confidence.mapping import CalibrationMap, normalised
from facetry.confidence.rare_values import fit_biases, submit
from facetry.evaluation.metrics import Evaluation, score_predictions, submission_total
from facetry.models.folder import RECIPE, TAXONOMY, open_folder, write_checksums
from facetry.predictions import Predictions
from facetry.product import Product
from tests.batch.workloads import TAXONOMY as SEEN
from tests.batch.workloads import Seeing, make_table, open_table
from tests.confidence.cells import draw_cells, make_evidence

BIASES: NDArray[np.float64] = np.zeros((SEEN.num_heads, SEEN.num_values))
BIASES[0, 0] = 5.0  # every border becomes the first of its values, against what is more probable


def calibration(submission_biases: NDArray[np.float64] | None = None) -> Calibration:
    return Calibration(
        map=CalibrationMap.identity(SEEN),
        evidence=make_evidence(np.ones(0), np.ones(0, dtype=bool)),
        facts={},
        submission_biases=submission_biases,
    )


@pytest.fixture
def predictions() -> Predictions:
    categories = ("Sarees", "Men Tshirts", "Sarees")
    problems = ("", "", "file not found")
    return Seeing().predict(
        [
            Product(id=index, category=category, problem=problem)
            for index, (category, problem) in enumerate(zip(categories, problems, strict=True))
        ]
    )


def test_biases_change_the_submission_alone(predictions: Predictions) -> None:
    submitted = submit(predictions, BIASES)
    assert predictions.submitted.tolist() == predictions.top.tolist()
    assert submitted.submitted.tolist() == [
        [0, *predictions.top[0, 1:]],
        [*predictions.top[1]],
        [-1, -1],
    ]
    assert submitted.to_long().equals(predictions.to_long())
    assert submitted.to_wide()["attr_1"].to_list() == ["temple", "polo", "dummy_value"]
    assert submitted.to_wide().drop("attr_1").equals(predictions.to_wide().drop("attr_1"))


def test_a_submission_has_a_score_of_its_own() -> None:
    labels = {"border": "temple", "color": "red"}
    products = [Product(id=index, category="Sarees", labels=labels) for index in range(3)]
    predictions = Seeing().predict(products)
    plain = Evaluation(
        scores=score_predictions(predictions, products), predictions=predictions, products=products
    )
    biases = np.zeros_like(BIASES)
    biases[1, 2] = 5.0  # red, of the second head
    submitted = replace(plain, predictions=submit(predictions, biases))
    assert submission_total(plain) is None
    assert submission_total(submitted) == plain.scores.total + 0.5, "both heads are right now"


def test_parts_with_and_without_biases_can_be_joined(predictions: Predictions) -> None:
    submitted = submit(predictions, BIASES)
    joined = Predictions.concatenate([predictions, submitted])
    assert joined.to_wide().equals(pl.concat([predictions.to_wide(), submitted.to_wide()]))
    assert Predictions.concatenate([predictions, predictions]).submission is None


def test_a_run_that_is_repeated_submits_the_same(tmp_path: Path) -> None:
    folder = make_table(tmp_path, 25)
    plain, biased = calibration(), calibration(BIASES)
    for name, each in (("plain", plain), ("biased", biased), ("biased", biased)):
        predictor = CalibratedPredictor(plain=Seeing(culprits=[4]), calibration=each)
        config = BatchConfig(model=name, shard_rows=10)
        summary = predict_table(predictor, open_table(folder), tmp_path / name, config)
    assert summary.num_reused
    long = [pl.read_parquet(tmp_path / name / "predictions.parquet") for name in ("plain", "biased")]
    assert long[0].equals(long[1])
    one, other = (pl.read_csv(tmp_path / name / "submission.csv") for name in ("plain", "biased"))
    assert set(one.filter(Category="Sarees")["attr_1"]) == {"zari", "dummy_value"}
    assert set(other.filter(Category="Sarees")["attr_1"]) == {"temple", "dummy_value"}
    assert one.drop("attr_1").equals(other.drop("attr_1"))


def test_parts_of_older_versions_have_fewer_fields(predictions: Predictions) -> None:
    rows = predictions.to_rows().with_columns(text_digest=pl.lit(""), digest=pl.lit(""))
    field = pl.element().struct.field
    older = rows.with_columns(
        pl.col("predictions").list.eval(
            pl.struct(field("attribute"), field("value"), field("confidence"))
        )
    )
    assert from_bytes(to_bytes(older)).equals(rows)


@pytest.mark.parametrize("biases", [None, BIASES])
def test_a_models_calibration_stores_them(tmp_path: Path, biases: NDArray[np.float64] | None) -> None:
    (tmp_path / RECIPE).write_text(yaml.safe_dump({"kind": "search"}))
    (tmp_path / TAXONOMY).write_text(SEEN.to_json())
    write_checksums(tmp_path)
    calibration(biases).save(open_folder(tmp_path))
    found = read_calibration(open_folder(tmp_path))
    assert found
    np.testing.assert_equal(found.submission_biases, biases)


def timid_cells(num_cells: int, seed: int = 0) -> LabelledCells:
    """Cells of a predictor that knows well, but holds each head's first value to be too probable."""
    cells = draw_cells(num_cells, seed=seed)
    logs = cells.log_probabilities.copy()
    logs[:, 0] += 4.0
    return cells.with_log_probabilities(normalised(logs))


def test_biases_are_higher_for_rarer_values_and_help_on_other_cells() -> None:
    biases = fit_biases(timid_cells(2000))
    assert biases is not None
    assert (biases[:, 0] < biases[:, 1:3].min(axis=1)).all()
    assert (biases[[0, 3, 6], 3:] == 0).all(), "padding"
    others = timid_cells(2000, seed=1)
    submitted = (others.log_probabilities + biases[others.heads]).argmax(axis=1)
    assert (submitted == others.labels).mean() > others.is_right.mean() + 0.05


@pytest.mark.parametrize(
    "cells",
    [draw_cells(0), draw_cells(4), draw_cells(900)],
    ids=["no cells", "too few cells", "no value is rare"],
)
def test_without_a_gain_there_are_no_biases(cells: LabelledCells) -> None:
    assert fit_biases(cells) is None


def test_a_value_without_a_label_and_labels_that_are_no_values_do_no_harm() -> None:
    cells = timid_cells(1500)
    is_odd = (cells.labels == 2) | (np.arange(1500) % 10 == 0)
    biases = fit_biases(replace(cells, labels=np.where(is_odd, -1, cells.labels)))
    assert biases is None or np.isfinite(biases).all()
