"""Ensembles: a Predictor over Predictors, and how its members are weighted."""

from facetry.predictors.ensemble.learning import Learned, learn_weighting
from facetry.predictors.ensemble.predictor import Ensemble, Gain, load_ensemble, measure_gain
from facetry.predictors.ensemble.weighting import (
    FILE as WEIGHTING,
)
from facetry.predictors.ensemble.weighting import (
    FixedWeights,
    Gate,
    HeadWeights,
    Weighting,
    read_weighting,
    save_weighting,
)

__all__ = [
    "WEIGHTING",
    "Ensemble",
    "FixedWeights",
    "Gain",
    "Gate",
    "HeadWeights",
    "Learned",
    "Weighting",
    "learn_weighting",
    "load_ensemble",
    "measure_gain",
    "read_weighting",
    "save_weighting",
]
