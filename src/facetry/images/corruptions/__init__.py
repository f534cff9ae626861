"""Damage to photos: kinds to score a predictor on, and AugMix to train with."""

from facetry.images.corruptions.augmix import augmix
from facetry.images.corruptions.kinds import (
    CORRUPTIONS,
    NUM_STRENGTHS,
    Corruption,
    Damage,
    choose_corruptions,
)

__all__ = ["Corruption", "CORRUPTIONS", "NUM_STRENGTHS", "Damage", "choose_corruptions", "augmix"]
