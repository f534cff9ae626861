"""Predictions of the very products that a model was trained on, by heads that were trained without them.

Shapes: N products of the catalogue, D features, A slots, V values.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, find_groups, make_folds
from facetry.errors import SettingError
from facetry.evaluation.metrics import embed
from facetry.models.folder import ModelFolder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.recipe import ClassifierRecipe, Recipe, parse_recipe
from facetry.runtime.progress import Reporter

NUM_FOLDS = 5


def predict_out_of_fold(
    model: ModelFolder,
    predictor: Predictor,
    catalogue: Catalogue,
    split: Split,
    rows: NDArray[np.int64],
    reporter: Reporter,
) -> Predictions:
    """Predictions for some rows, by the model's recipe trained on all folds of these but their own.

    Heads that are trained on four fifths of the products are hardly surer or better than the model's.

    Raises:
        SettingError: the model's backbone is not frozen, so that each fold would take as long as the
            model's whole training.
    """
    from facetry.training.stored_features import Fitting, out_of_fold

    recipe = parse_recipe(dict(model.recipe))
    _require_frozen(recipe, predictor, model)
    assert isinstance(recipe, ClassifierRecipe)
    validation = split.rows("validation")
    features = _features(predictor, catalogue, np.union1d(rows, validation), reporter)
    is_read: NDArray[np.bool_] = (features != 0).any(axis=1)
    groups = split.groups if split.groups is not None else find_groups(catalogue, reporter=reporter)
    folds = np.full(len(catalogue), -1, dtype=np.int8)
    folds[rows] = make_folds(catalogue, NUM_FOLDS, seed=recipe.seed, groups=groups)[rows]
    folds[~is_read] = -1
    fitting = Fitting(
        heads=recipe.heads,
        training=recipe.training,
        seed=recipe.seed,
        validation=validation[is_read[validation]],
    )
    probabilities = out_of_fold(catalogue, features, folds, fitting, reporter=reporter)
    products = [
        product if read else replace(product, problem="photo not readable")
        for product, read in zip(catalogue.products(rows), is_read[rows], strict=True)
    ]
    return Predictions.of(predictor.taxonomy, products, probabilities[rows])


def _require_frozen(recipe: Recipe, predictor: Predictor, model: ModelFolder) -> None:
    is_frozen = isinstance(recipe, ClassifierRecipe) and recipe.backbone.frozen
    if not is_frozen or not isinstance(predictor, Embedder):
        raise SettingError(
            f"The model in {model.path} has no frozen backbone: to predict the products that it learned "
            "from, all of it would have to be trained again for each fold.",
            hint="Leave out --cross-fit, or name a table of other products.",
        )


def _features(
    predictor: Predictor, catalogue: Catalogue, rows: NDArray[np.int64], reporter: Reporter
) -> NDArray[np.float32]:
    """Features (N, D) of some rows; 0 for the others and those that cannot be read."""
    assert isinstance(predictor, Embedder)
    found: NDArray[Any] = embed(predictor, catalogue.products(rows), reporter=reporter)
    features = np.zeros((len(catalogue), found.shape[1]), dtype=np.float32)
    features[rows] = found
    return features
