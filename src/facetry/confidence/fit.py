"""Fits a calibration map: a temperature for each head, shrunk to its category's and to all heads'.

A head's probabilities p become p^(1/T), scaled to sum to 1 (Guo et al. 2017, "On calibration of modern
neural networks"). Heads with few labels borrow from the others: log T has a normal prior around its
category's, which has one around that of all heads; cross-validation decides how strong it is. A head
with labels enough also gets a bias for each value (vector scaling), if that is better on held-out cells.

Shapes: N cells, V values, H heads, P parameters.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import LabelledCells
from facetry.confidence.mapping import CalibrationMap, Floats, negative_log_likelihoods
from facetry.taxonomy import Taxonomy

STRENGTHS: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
"""The strengths of the prior to choose from: 1 over the variance of log T."""

NUM_FOLDS: Final = 5

MIN_BIASED: Final = 200
"""The labels that a head needs before biases are tried."""

_BIAS_STRENGTH: Final = 3.0
_NUM_DIGITS: Final = 6
_LOG_BOUNDS: Final = (-3.0, 3.0)  # temperatures of 0.05 to 20

Fit = Callable[[LabelledCells], CalibrationMap]


def fit_map(cells: LabelledCells) -> CalibrationMap:
    """Fit the map on labelled cells; on fewer groups than folds it changes nothing."""
    known = cells.take(cells.labels >= 0)
    if len(np.unique(known.groups)) < NUM_FOLDS:
        return CalibrationMap.identity(cells.taxonomy)
    fits = [_temperature_fit(strength) for strength in STRENGTHS]
    losses = [_held_out_losses(known, fit) for fit in fits]
    best = int(np.argmin([each.mean() for each in losses]))
    plain = fits[best](known)
    richer = _held_out_losses(known, lambda each: _with_biases(fits[best](each), each))
    wins = _heads_that_win(known, losses[best] - richer)
    biased = _with_biases(plain, known)
    return CalibrationMap(  # rounded, so that it is read from a file as it was fitted
        log_temperatures=plain.log_temperatures.round(_NUM_DIGITS),
        biases=np.where(wins[:, None], biased.biases, 0).round(_NUM_DIGITS),
    )


def _held_out_losses(cells: LabelledCells, fit: Fit) -> Floats:
    """-log p(label) of each cell (N), by maps fitted on the folds that it is not in."""
    losses = np.empty(len(cells))
    for learn, judge in cells.folds(NUM_FOLDS):
        calibrated = fit(cells.take(learn)).calibrated(cells.take(judge))
        losses[judge] = negative_log_likelihoods(calibrated)
    return losses


def _heads_that_win(cells: LabelledCells, gains: Floats) -> NDArray[np.bool_]:
    """The heads (H) with labels enough whose mean gain (of N) is above its standard error."""
    wins = np.zeros(cells.taxonomy.num_heads, dtype=bool)
    for head in np.unique(cells.heads):
        own = gains[cells.heads == head]
        if len(own) >= MIN_BIASED:
            wins[head] = own.mean() > own.std() / np.sqrt(len(own))
    return wins


def _temperature_fit(strength: float) -> Fit:
    """What fits the temperatures of least penalised negative log-likelihood."""
    from scipy.optimize import minimize

    def fit(cells: LabelledCells) -> CalibrationMap:
        objective = _Objective(cells, strength)
        start = np.zeros(objective.num_parameters)
        bounds = [_LOG_BOUNDS] * len(start)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
        identity = CalibrationMap.identity(cells.taxonomy)
        return CalibrationMap(log_temperatures=objective.of_heads(found.x), biases=identity.biases)

    return fit


class _Objective:
    """The penalised negative log-likelihood and its gradient.

    Its parameters (P) are the common log-temperature, then each category's and each head's difference.
    """

    def __init__(self, cells: LabelledCells, strength: float) -> None:
        self._strength = strength
        self._category = categories_of_heads(cells.taxonomy)
        self._num_categories = len(cells.taxonomy.categories)
        self._heads = cells.heads
        self._is_value = np.isfinite(cells.log_probabilities)
        self._logs = np.where(self._is_value, cells.log_probabilities, 0.0)
        self._of_label = self._logs[np.arange(len(cells)), cells.labels]
        self.num_parameters = 1 + self._num_categories + cells.taxonomy.num_heads

    def of_heads(self, parameters: Floats) -> Floats:
        """The log-temperatures of all heads (H)."""
        of_category = parameters[1 : 1 + self._num_categories]
        of_head: Floats = parameters[1 + self._num_categories :]
        summed: Floats = parameters[0] + of_category[self._category] + of_head
        return summed

    def __call__(self, parameters: Floats) -> tuple[float, Floats]:
        """The value, and its gradient (P)."""
        inverse = np.exp(-self.of_heads(parameters))[self._heads]  # N
        scaled = np.where(self._is_value, self._logs * inverse[:, None], -np.inf)
        peaks = scaled.max(axis=1)
        weights = np.exp(scaled - peaks[:, None])
        sums = weights.sum(axis=1)
        loss = float((np.log(sums) + peaks - inverse * self._of_label).sum())
        expected = (weights * self._logs).sum(axis=1) / sums
        # By log T, as the derivative of 1/T by log T is -1/T.
        of_cells = -inverse * (expected - self._of_label)
        of_heads = np.bincount(self._heads, of_cells, minlength=len(self._category))
        of_categories = np.bincount(self._category, of_heads, minlength=self._num_categories)
        differences = np.concatenate([[0.0], parameters[1:]])
        gradient = np.concatenate([[of_heads.sum()], of_categories, of_heads])
        penalty = 0.5 * self._strength * float(differences @ differences)
        return loss + penalty, gradient + self._strength * differences


def _with_biases(plain: CalibrationMap, cells: LabelledCells) -> CalibrationMap:
    """The map with biases for the heads that have labels enough."""
    scaled, biases = plain.calibrated(cells), plain.biases.copy()
    heads, counts = np.unique(cells.heads, return_counts=True)
    for head in heads[counts >= MIN_BIASED * (NUM_FOLDS - 1) // NUM_FOLDS]:
        biases[head] = _fit_biases(scaled.take(scaled.heads == head))
    return CalibrationMap(log_temperatures=plain.log_temperatures, biases=biases)


def _fit_biases(cells: LabelledCells) -> Floats:
    """The biases (V) of one head's values of least penalised negative log-likelihood."""
    from scipy.optimize import minimize

    logs, rows = cells.log_probabilities, np.arange(len(cells))
    counts = np.bincount(cells.labels, minlength=logs.shape[1])

    def objective(biases: Floats) -> tuple[float, Floats]:
        shifted = logs + biases
        peaks = shifted.max(axis=1)
        weights = np.exp(shifted - peaks[:, None])
        sums = weights.sum(axis=1)
        loss = float((np.log(sums) + peaks - shifted[rows, cells.labels]).sum())
        gradient = (weights / sums[:, None]).sum(axis=0) - counts
        penalty = 0.5 * _BIAS_STRENGTH * float(biases @ biases)
        return loss + penalty, gradient + _BIAS_STRENGTH * biases

    found: Floats = minimize(objective, np.zeros(logs.shape[1]), jac=True, method="L-BFGS-B").x
    return found


def categories_of_heads(taxonomy: Taxonomy) -> NDArray[np.int64]:
    """The category's index of each head (H)."""
    indices = taxonomy.category_indices
    return np.array([indices[head.category] for head in taxonomy.heads], dtype=np.int64)
