"""Ensembles: a Predictor over Predictors, and how its members are weighted."""

from facetry.ensemble.fit import Learned, learn_weighting
from facetry.ensemble.folder import load_ensemble
from facetry.ensemble.gain import Gain, measure_gain
from facetry.ensemble.predictor import Ensemble
from facetry.ensemble.weighting import (
    FILE as WEIGHTING,
)
from facetry.ensemble.weighting import (
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
