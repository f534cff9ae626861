"""Runs a predictor over products with known labels and scores it."""

from collections.abc import Sequence
from dataclasses import dataclass

from facetry.evaluation.metrics import Scores, score_predictions
from facetry.images import load_batches
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Scores with what they were made from, products and predictions in the same order."""

    scores: Scores
    predictions: Predictions
    products: Sequence[Product]


def predict(
    predictor: Predictor,
    products: Sequence[Product],
    *,
    reporter: Reporter = SILENT,
    description: str = "Predicting",
) -> Predictions:
    """Decode and predict products that fit in memory as predictions; photos pass through."""
    parts = []
    with reporter.bar(description, len(products)) as advance:
        for batch in load_batches(products, predictor.preprocesses, reporter=reporter):
            parts.append(predictor.predict(batch))
            advance(len(batch))
    return Predictions.concatenate(parts or [predictor.predict([])])


def evaluate(
    predictor: Predictor, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Evaluation:
    """Score a predictor on the known labels of `products`."""
    predictions = predict(predictor, products, reporter=reporter, description="Evaluating")
    scores = score_predictions(predictions, products)
    return Evaluation(scores=scores, predictions=predictions, products=products)
