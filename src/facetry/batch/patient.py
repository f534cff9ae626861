"""A predictor that marks the products it fails on, and predicts all others."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from facetry.batch.manifest import FAILED
from facetry.errors import FacetryError
from facetry.predictions import Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

OnFailure = Callable[[Product, Exception], None]
"""Called with each product that could not be predicted, and the error."""


class PatientPredictor:
    """Another predictor, whose failure on one product does not take the others of its batch with it.

    A product that it fails on has the problem "failed: " and the error's class.
    """

    def __init__(self, predictor: Predictor, on_failure: OnFailure = lambda *_: None) -> None:
        self.predictor = predictor
        self._on_failure = on_failure

    @property
    def taxonomy(self) -> Taxonomy:
        """That of the other predictor."""
        return self.predictor.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """Those of the other predictor."""
        return self.predictor.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict a batch; if that fails, one by one, so that only products at fault are marked.

        Raises:
            FacetryError: an error of the other predictor that concerns all products.
            MemoryError: the batch does not fit in memory.
        """
        try:
            return self.predictor.predict(products)
        except (FacetryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - recorded in the status and counted
            if len(products) > 1:
                return Predictions.concatenate([self.predict([each]) for each in products])
            return self._failed(products[0], error)

    def _failed(self, product: Product, error: Exception) -> Predictions:
        """Predictions that mark the product as failed."""
        self._on_failure(product, error)
        taxonomy = self.taxonomy
        failed = replace(product, problem=product.problem or f"{FAILED}{type(error).__name__}")
        nothing = np.zeros((1, taxonomy.num_slots, taxonomy.num_values), np.float32)
        return Predictions.of(taxonomy, [failed], nothing)
