"""Calibration maps: known temperatures are found, heads borrow, biases must earn their place."""

import numpy as np
import pytest

from facetry.confidence.cells import LabelledCells
from facetry.confidence.fit import fit_map
from facetry.confidence.mapping import (
    CalibrationMap,
    brier_scores,
    calibration_error,
    negative_log_likelihoods,
)
from tests.confidence.cells import TAXONOMY, draw_cells


@pytest.mark.parametrize("sharpened", [0.5, 1.0, 2.0])
def test_a_known_temperature_is_found(sharpened: float) -> None:
    cells = draw_cells(3000, sharpened=sharpened)
    found = fit_map(cells)
    np.testing.assert_allclose(np.exp(found.log_temperatures), sharpened, rtol=0.2)
    calibrated = found.calibrated(cells)
    assert calibration_error(calibrated.confidence, calibrated.is_right) < 0.03
    assert negative_log_likelihoods(calibrated).mean() <= negative_log_likelihoods(cells).mean()
    assert brier_scores(calibrated).mean() <= brier_scores(cells).mean() + 1e-3


def test_temperature_alone_changes_no_answer() -> None:
    cells = draw_cells(400, sharpened=3.0)
    calibrated = fit_map(cells).calibrated(cells)
    np.testing.assert_array_equal(calibrated.is_right, cells.is_right)


def test_a_head_with_few_labels_borrows_from_the_others() -> None:
    cells = draw_cells(3000, sharpened=2.0)
    few = np.flatnonzero(cells.heads == 4)[:4]
    found = fit_map(cells.take(np.concatenate([np.flatnonzero(cells.heads != 4), few])))
    assert 1.5 < np.exp(found.log_temperatures[4]) < 2.5


def test_a_value_that_is_always_too_probable_gets_a_bias() -> None:
    cells = draw_cells(6000)
    logs = cells.log_probabilities.copy()
    logs[cells.heads == 0, 1] += 1.5
    biased = CalibrationMap.identity(TAXONOMY).calibrated(cells.with_log_probabilities(logs))
    found = fit_map(biased)
    assert found.biases[0, 1] - found.biases[0, [0, 2]].mean() < -0.8
    assert not found.biases[1:].any()


@pytest.mark.parametrize("num_cells", [0, 3])
def test_too_few_cells_change_nothing(num_cells: int) -> None:
    found = fit_map(draw_cells(num_cells))
    assert not found.log_temperatures.any()
    assert not found.biases.any()


def test_labels_that_are_no_values_are_left_out() -> None:
    cells = draw_cells(500)
    labels = np.where(np.arange(500) < 250, -1, cells.labels)
    odd = LabelledCells(
        taxonomy=TAXONOMY,
        heads=cells.heads,
        labels=labels,
        log_probabilities=cells.log_probabilities,
        groups=cells.groups,
    )
    expected = fit_map(cells.take(np.arange(250, 500)))
    np.testing.assert_allclose(fit_map(odd).log_temperatures, expected.log_temperatures)
    assert not odd.is_right[:250].any()


def test_groups_stay_together_in_folds_and_are_one_observation() -> None:
    cells = draw_cells(200)
    grouped = cells.take(np.repeat(np.arange(100), 2))
    for learn, judge in grouped.folds(5):
        assert not set(grouped.groups[learn]) & set(grouped.groups[judge])
    assert len(grouped.evidence()) == 100
