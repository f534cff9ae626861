"""Learns which photos a new predictor has seen, so that those unlike them can be told."""

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.confidence.novelty import FeatureSet, Novelty, choose_references
from facetry.evaluation.metrics import embed
from facetry.predictions import Embedder, Predictor
from facetry.runtime.progress import Reporter


def learn_novelty(
    predictor: Predictor, catalogue: Catalogue, split: Split, reporter: Reporter
) -> Novelty | None:
    """What the predictor learned from, with thresholds set on the validation part.

    None for a predictor without features, or without photos to set thresholds on. The calibration part
    is left alone: promises are based on it, and hold for what is not novel.
    """
    if not isinstance(predictor, Embedder):
        return None
    known, others = (
        _features(predictor, catalogue, split.rows(part), reporter) for part in ("train", "validation")
    )
    is_packed = known.features.dtype == np.uint8  # bits of hashes, which have no distance like others
    if is_packed or not len(known.features) or not len(others.features):
        return None
    return Novelty.fit(known, others, len(predictor.taxonomy.categories))


def _features(
    predictor: Embedder, catalogue: Catalogue, rows: NDArray[np.int64], reporter: Reporter
) -> FeatureSet:
    """The features of some rows of the catalogue, no more than needed; those unreadable have none."""
    rows = choose_references(catalogue.category_codes, rows)
    products = catalogue.products(rows)
    features = embed(predictor, products, reporter=reporter, description="Comparing photos")
    is_readable = features.any(axis=1)
    return FeatureSet(
        features=features[is_readable], categories=catalogue.category_codes[rows][is_readable]
    )
