"""Labelled cells: what counts as evidence, and the scores of probabilities."""

import numpy as np
import pytest

from facetry.confidence.cells import LabelledCells
from facetry.confidence.mapping import CalibrationMap, calibration_error, summarise
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import OFF_LIST, Taxonomy
from tests.confidence.cells import draw_cells

TAXONOMY = Taxonomy.of({"Sarees": {"border": ["zari", "solid"]}})


def labelled(labels: list[int], groups: list[int], problem: str = "") -> LabelledCells:
    products = [Product(id=index, category="Sarees", problem=problem) for index in range(len(labels))]
    probabilities = np.tile(np.array([0.75, 0.25], dtype=np.float32), (len(labels), 1, 1))
    predictions = Predictions.of(TAXONOMY, products, probabilities)
    return LabelledCells.of(predictions, np.array(labels)[:, None], np.array(groups))


def test_a_blank_is_no_cell_and_an_unknown_value_an_error() -> None:
    cells = labelled([0, 1, -1, OFF_LIST], [0, 1, 2, 3])
    assert cells.labels.tolist() == [0, 1, -1]
    assert cells.is_right.tolist() == [True, False, False]
    evidence = cells.evidence()
    np.testing.assert_allclose(evidence.confidence, 0.75)
    np.testing.assert_allclose(evidence.of_label, [0.75, 0.25, 0])


def test_one_product_of_those_with_like_photos_counts() -> None:
    evidence = labelled([0, 0, 1, 1, 0], [7, 7, 7, 8, 9]).evidence()
    assert len(evidence) == 3


def test_products_that_cannot_be_read_have_no_cells() -> None:
    assert len(labelled([0, 1], [0, 1], problem="not an image")) == 0


def test_scores_of_known_probabilities() -> None:
    scores = summarise(labelled([0, 0, 0, 1], [0, 1, 2, 3]))
    assert scores.nll == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert scores.brier == pytest.approx((3 * 2 * 0.25**2 + 2 * 0.75**2) / 4)
    assert (scores.confidence, scores.accuracy) == (pytest.approx(0.75), 0.75)
    assert scores.calibration_error <= 1


def test_true_probabilities_have_no_calibration_error_and_sharpened_ones_have() -> None:
    cells, sharp = draw_cells(20_000), draw_cells(20_000, sharpened=2.0)
    assert calibration_error(cells.confidence, cells.is_right) < 0.02
    assert calibration_error(sharp.confidence, sharp.is_right) > 0.05


def test_the_identity_changes_nothing() -> None:
    cells = draw_cells(50)
    same = CalibrationMap.identity(cells.taxonomy).calibrated(cells)
    np.testing.assert_allclose(np.exp(same.log_probabilities), np.exp(cells.log_probabilities))
