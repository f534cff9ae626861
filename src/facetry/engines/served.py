"""A classifier whose graph an engine computes; a Predictor that needs no torch.

Shapes: B products, n products that can be predicted, S side in pixels, H heads of all categories,
A slots, V values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facetry.engines.engine import Engine
from facetry.images import stack_pixels
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


class ServedClassifier:
    """The engine computes all heads of every photo; each product takes those of its category."""

    def __init__(self, taxonomy: Taxonomy, preprocess: Preprocess, engine: Engine) -> None:
        self.taxonomy = taxonomy
        self.preprocesses = (preprocess,)
        self.engine = engine
        self._slots = taxonomy.head_slots  # C A

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Predict all products as one batch."""
        codes = self.taxonomy.encode_categories([product.category for product in products])
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        rows = [row for row, each in enumerate(products) if not each.problem and codes[row] >= 0]
        if rows:
            (form,) = self.preprocesses
            pixels = stack_pixels([products[row] for row in rows], form)  # n 3 S S
            predicted[rows] = self._own_heads(self.engine(pixels), codes[rows])
        return Predictions.of(self.taxonomy, products, predicted)

    def _own_heads(
        self, probabilities: NDArray[np.float32], codes: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """What is asked of each product (n, A, V) of all heads (n, H, V).

        Sums are brought back to 1, which rounding in half precision takes them from.
        """
        slots = self._slots[codes]  # n A
        chosen = np.take_along_axis(probabilities, slots.clip(min=0)[..., None], axis=1)
        chosen[slots < 0] = 0
        sums = chosen.sum(axis=2, keepdims=True)
        chosen /= np.where(sums > 0, sums, 1)
        return chosen
