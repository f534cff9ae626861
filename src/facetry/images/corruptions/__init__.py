"""Damage to photos: to score a predictor on it, and a milder kind to train with."""

from facetry.images.corruptions.chains import augmix
from facetry.images.corruptions.damage import Damage, choose_corruptions
from facetry.images.corruptions.kinds import CORRUPTIONS, NUM_STRENGTHS, Corruption

__all__ = ["Corruption", "CORRUPTIONS", "NUM_STRENGTHS", "Damage", "choose_corruptions", "augmix"]
