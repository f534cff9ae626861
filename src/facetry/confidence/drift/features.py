"""A classifier two-sample test on features, and which products are most unlike the others.

The test is that of Lopez-Paz and Oquab (2017): a classifier is trained to tell new products from old
ones; where it succeeds on products that it has not seen, the two differ.

Shapes: N products, the old ones first; D features.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.drift.effects import Weightings

NUM_FOLDS: Final = 5

NUM_COMPONENTS: Final = 50
"""Principal components that the classifier sees: with more, some hundred products differ by chance."""

_REGULARISATION: Final = 0.1
_MAX_STEPS: Final = 500


def tell_apart(
    old: NDArray[np.floating], new: NDArray[np.floating], weightings: Weightings
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How much like a new product each one looks (N) to a classifier that has not seen it; its fold (N).

    Products that are not compared have the fold -1. Features are taken relative to their category's
    mean, and the classifier sees as much of a category's old products as of its new ones: it cannot
    tell products apart by their category.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    is_new = np.arange(len(weightings.categories)) >= len(old)
    rows = np.flatnonzero(weightings.categories >= 0)
    features = np.concatenate([old, new])[rows].astype(np.float32)
    features = StandardScaler().fit_transform(_centred(features, weightings.categories[rows]))
    num_components = min(NUM_COMPONENTS, *features.shape)
    components = PCA(num_components, svd_solver="randomized", random_state=0).fit_transform(features)
    components = StandardScaler().fit_transform(components)
    weights = (weightings.old[0] + weightings.new[0])[rows] * len(rows) / 2
    scores, folds = np.zeros(len(is_new)), np.full(len(is_new), -1)
    strata = 2 * weightings.categories[rows] + is_new[rows]
    splits = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0).split(components, strata)
    for fold, (learned, judged) in enumerate(splits):
        model = LogisticRegression(C=_REGULARISATION, max_iter=_MAX_STEPS)
        model.fit(components[learned], is_new[rows][learned], sample_weight=weights[learned])
        scores[rows[judged]] = model.decision_function(components[judged])
        folds[rows[judged]] = fold
    return scores, folds


def _centred(features: NDArray[np.float32], categories: NDArray[np.int64]) -> NDArray[np.float32]:
    """Features relative to the mean of their category, over both samples.

    The mean, like the components, is blind to which products are new: otherwise the classifier would
    find the samples' chance differences in products that it has not seen.
    """
    for category in np.unique(categories):
        rows = categories == category
        features[rows] -= features[rows].mean(axis=0)
    return features


def strangeness(
    features: NDArray[np.floating],
    categories: NDArray[np.integer],
    known: NDArray[np.floating],
    known_categories: NDArray[np.integer],
) -> NDArray[np.float32]:
    """The cosine distance of each product to the nearest known one of its category, 0 to 2.

    It is 0 where none is known of the category.
    """
    found = np.zeros(len(features), dtype=np.float32)
    for category in np.intersect1d(categories, known_categories):
        rows = np.flatnonzero(categories == category)
        others = _normalised(known[known_categories == category])
        found[rows] = 1 - (_normalised(features[rows]) @ others.T).max(axis=1)
    return found


def distance_to_mean(
    features: NDArray[np.floating], categories: NDArray[np.integer]
) -> NDArray[np.float32]:
    """The cosine distance of each product to its category's mean, 0 to 2: small where it is typical."""
    found = np.zeros(len(features), dtype=np.float32)
    for category in np.unique(categories):
        rows = np.flatnonzero(categories == category)
        own = _normalised(features[rows])
        found[rows] = 1 - own @ _normalised(own.mean(axis=0, keepdims=True))[0]
    return found


def _normalised(features: NDArray[np.floating]) -> NDArray[np.float32]:
    wide = features.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    found: NDArray[np.float32] = (wide / np.maximum(lengths, 1e-12)).astype(np.float32)
    return found
