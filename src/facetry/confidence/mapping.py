"""The map from a predictor's probabilities to calibrated ones, and the two scores that judge it.

Shapes: N cells, V values of the head that has most, H heads.
"""

from dataclasses import dataclass
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import LabelledCells
from facetry.taxonomy import Taxonomy

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationMap:
    """Divides a head's log-probabilities by its temperature, and adds a bias to each value's.

    `log_temperatures` (H) are 0 where nothing is to change; `biases` (H, V) are 0 but where they are
    better than a temperature alone.
    """

    log_temperatures: Floats
    biases: Floats

    @classmethod
    def identity(cls, taxonomy: Taxonomy) -> "CalibrationMap":
        """The map that changes nothing."""
        shape = (taxonomy.num_heads, taxonomy.num_values)
        return cls(log_temperatures=np.zeros(shape[0]), biases=np.zeros(shape))

    def apply(self, heads: NDArray[np.integer], log_probabilities: Floats) -> Floats:
        """Calibrated log-probabilities (..., V) of cells of `heads` (...); padding stays -inf."""
        scaled = log_probabilities * np.exp(-self.log_temperatures[heads])[..., None]
        return normalised(scaled + self.biases[heads])

    def calibrated(self, cells: LabelledCells) -> LabelledCells:
        """The same cells with calibrated probabilities."""
        return cells.with_log_probabilities(self.apply(cells.heads, cells.log_probabilities))


def normalised(logs: Floats) -> Floats:
    """Logarithms (..., V) shifted so that their exponentials sum to 1."""
    peaks = logs.max(axis=-1, keepdims=True)
    sums: Floats = np.exp(logs - peaks).sum(axis=-1, keepdims=True)
    shifted: Floats = logs - peaks - np.log(sums)
    return shifted


def negative_log_likelihoods(cells: LabelledCells) -> Floats:
    """-log p(label) of each cell (N); NaN for a label that is none of the head's values."""
    picked = np.take_along_axis(cells.log_probabilities, np.maximum(cells.labels, 0)[:, None], axis=1)
    return np.where(cells.labels >= 0, -picked[:, 0], np.nan)


def brier_scores(cells: LabelledCells) -> Floats:
    """The squared distance of the probabilities from the label (N), 0 to 2; NaN as above."""
    rows = np.arange(len(cells))
    differences = np.exp(cells.log_probabilities)
    differences[rows, np.maximum(cells.labels, 0)] -= 1
    return np.where(cells.labels >= 0, (differences**2).sum(axis=1), np.nan)


class ProbabilityScores(NamedTuple):
    """Means over labelled cells; `calibration_error` is over all cells together."""

    nll: float
    brier: float
    calibration_error: float
    confidence: float
    accuracy: float


def summarise(cells: LabelledCells) -> ProbabilityScores:
    """How good the probabilities of some cells are; NaN without cells.

    Labels that are none of the head's values have no probability: `nll` and `brier` leave them out.
    """
    if not len(cells):
        return ProbabilityScores(nan, nan, nan, nan, nan)
    known = cells.take(cells.labels >= 0)
    return ProbabilityScores(
        nll=float(negative_log_likelihoods(known).mean()) if len(known) else nan,
        brier=float(brier_scores(known).mean()) if len(known) else nan,
        calibration_error=calibration_error(cells.confidence, cells.is_right),
        confidence=float(cells.confidence.mean()),
        accuracy=float(cells.is_right.mean()),
    )


def calibration_error(confidence: Floats, is_right: NDArray[np.bool_], num_bins: int = 15) -> float:
    """The expected calibration error, 0 to 1, over bins of equally many of all cells (N).

    Meant for all heads together: a head's own labels are too few for bins.
    """
    if not len(confidence):
        return 0.0
    parts = np.array_split(np.argsort(confidence, kind="stable"), num_bins)
    gaps = [
        abs(confidence[part].mean() - is_right[part].mean()) * len(part) for part in parts if len(part)
    ]
    return float(sum(gaps) / len(confidence))
