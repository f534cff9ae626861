"""The ensemble: a Predictor over Predictors (paper, section 5.2).

Shapes: B products, M members, A slots, V values.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from facetry.errors import PredictorMismatch
from facetry.predictions import Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


class Ensemble:
    """The weighted mean of its members' probabilities.

    Each member reads pixels in its own size and preprocessing; the loader makes all of them from one
    decode. `weights` are per member and scaled to sum to 1; equal if left out.

    Raises:
        PredictorMismatch: no members, members of different taxonomies, or weights that do not fit.
    """

    def __init__(
        self, members: Mapping[str, Predictor], weights: Mapping[str, float] | None = None
    ) -> None:
        if not members:
            raise PredictorMismatch("An ensemble needs at least one member.")
        first, *others = members
        for name in others:
            _check_same(first, members[first].taxonomy, name, members[name].taxonomy)
        shares = dict(weights) if weights else dict.fromkeys(members, 1.0)
        total = sum(shares.values())
        is_fit = set(shares) == set(members) and min(shares.values()) >= 0
        if not is_fit or not 0 < total < math.inf:
            raise PredictorMismatch(
                f"The weights {shares} do not fit the members {', '.join(members)}.",
                hint="Give each member one weight of 0 or more, not all 0.",
            )
        self.members = dict(members)
        self.weights = {name: shares[name] / total for name in members}

    @property
    def taxonomy(self) -> Taxonomy:
        """What it predicts: what each member predicts."""
        return next(iter(self.members.values())).taxonomy

    @cached_property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The pixel forms of all members, each once."""
        forms = [form for member in self.members.values() for form in member.preprocesses]
        return tuple(dict.fromkeys(forms))

    def predict(self, products: Sequence[Product]) -> Predictions:
        """The weighted mean of the members' probabilities (B, A, V)."""
        predicted = {name: member.predict(products) for name, member in self.members.items()}
        return self.combine(predicted, products)

    def combine(self, predicted: Mapping[str, Predictions], products: Sequence[Product]) -> Predictions:
        """Average what the members have predicted for `products` already."""
        stacked = np.stack([predicted[name].probabilities for name in self.members])  # M B A V
        shares = np.array([self.weights[name] for name in self.members], dtype=np.float32)
        mean = np.einsum("m,mbav->bav", shares, stacked)
        return Predictions.of(self.taxonomy, products, mean)


def _check_same(first: str, expected: Taxonomy, name: str, got: Taxonomy) -> None:
    if got == expected:
        return
    pairs = zip(expected.heads, got.heads, strict=False)
    differing = next((a.name for a, b in pairs if a != b), "the number of heads")
    raise PredictorMismatch(
        f"The members {first!r} and {name!r} have different taxonomies: they differ in {differing}.",
        hint="Members must predict the same heads with the same values in the same order.",
    )
