"""The ensemble, how it is loaded, and what a learned weighting gains over the fixed one.

Shapes: B products, M members, A slots, V values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.errors import ModelFolderError, PredictorMismatch
from facetry.evaluation.metrics import Difference, Scores, answers_to, paired_difference, score
from facetry.images import load_batches
from facetry.models.folder import ModelFolder
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.predictors.ensemble.weighting import FixedWeights, Weighting, read_weighting
from facetry.product import Preprocess, Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy


class Ensemble:
    """The weighted mean of its members' probabilities.

    Each member reads pixels in its own size and preprocessing; the loader makes all of them from one
    decoded photo. `weights` are per member and scaled to sum to 1; equal if left out. A learned
    `weighting` replaces them.

    Raises:
        PredictorMismatch: no members, members of different taxonomies, or weights that do not fit.
    """

    def __init__(
        self,
        members: Mapping[str, Predictor],
        weights: Mapping[str, float] | None = None,
        weighting: Weighting | None = None,
    ) -> None:
        if not members:
            raise PredictorMismatch("An ensemble needs at least one member.")
        first, *others = members
        for name in others:
            _check_same(first, members[first].taxonomy, name, members[name].taxonomy)
        shares = dict(weights) if weights else dict.fromkeys(members, 1.0)
        total = sum(shares.values())
        fits = set(shares) == set(members) and min(shares.values()) >= 0
        if not fits or not 0 < total < math.inf:
            raise PredictorMismatch(
                f"The weights {shares} do not fit the members {', '.join(members)}.",
                hint="Give each member one weight of 0 or more, not all 0.",
            )
        self.members = dict(members)
        self.weights = {name: shares[name] / total for name in members}
        self.fixed = FixedWeights(np.array(list(self.weights.values())))
        self.weighting: Weighting = weighting or self.fixed

    @classmethod
    def of(
        cls,
        members: Mapping[str, Predictor],
        weights: Mapping[str, float] | None = None,
        weighting: Weighting | None = None,
    ) -> "Ensemble":
        """The ensemble of these members, which gives features if one of them does."""
        gives_features = any(isinstance(member, Embedder) for member in members.values())
        kind = EmbeddingEnsemble if gives_features else cls
        return kind(members, weights, weighting)

    @property
    def is_learned(self) -> bool:
        """Whether its members' weights were learned from labels."""
        return self.weighting is not self.fixed

    @property
    def taxonomy(self) -> Taxonomy:
        """The taxonomy that each member has too."""
        return next(iter(self.members.values())).taxonomy

    @cached_property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        """The pixel forms of all members, without duplicates."""
        forms = [form for member in self.members.values() for form in member.preprocesses]
        return tuple(dict.fromkeys(forms))

    def predict(self, products: Sequence[Product]) -> Predictions:
        """The weighted mean of the members' probabilities (B, A, V)."""
        predicted = {name: member.predict(products) for name, member in self.members.items()}
        return self.combine(predicted)

    def predict_members(
        self,
        products: Sequence[Product],
        *,
        reporter: Reporter = SILENT,
        description: str = "Predicting",
    ) -> dict[str, Predictions]:
        """Each member's own predictions; every photo is decoded once, batch by batch."""
        parts = {name: [member.predict([])] for name, member in self.members.items()}
        with reporter.bar(description, len(products)) as advance:
            for batch in load_batches(products, self.preprocesses, reporter=reporter):
                for name, member in self.members.items():
                    parts[name].append(member.predict(batch))
                advance(len(batch))
        return {name: Predictions.concatenate(each) for name, each in parts.items()}

    def combine(
        self, predicted: Mapping[str, Predictions], weighting: Weighting | None = None
    ) -> Predictions:
        """Average the members' predictions, with another weighting if one is given.

        A product that one of them could not predict has its problem in the result.
        """
        parts = [predicted[name] for name in self.members]
        problems = tuple(
            next(filter(None, each), "") for each in zip(*(part.problems for part in parts), strict=True)
        )
        stacked = np.stack([part.probabilities for part in parts])  # M B A V
        stacked[:, [bool(problem) for problem in problems]] = 0
        codes = parts[0].category_codes
        heads = self.taxonomy.heads_of_slots(codes)  # B A
        shares = (weighting or self.weighting).shares(stacked, heads).astype(np.float32)  # M B A
        mean = np.einsum("mba,mbav->bav", shares, stacked)
        return replace(parts[0], probabilities=mean, problems=problems)


class EmbeddingEnsemble(Ensemble):
    """An ensemble that gives features, those of its first member that does."""

    def embed(self, products: Sequence[Product]) -> NDArray[Any]:
        """Features (B, D) of loaded products; see `predictions.Embedder`."""
        _, embedder = self._embedder
        return embedder.embed(products)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[Any]]:
        """Predictions and features (B, D) of loaded products; see `predictions.Embedder`."""
        name, embedder = self._embedder
        others = {other: each.predict(products) for other, each in self.members.items() if other != name}
        own, features = embedder.predict_and_embed(products)
        return self.combine({**others, name: own}), features

    @cached_property
    def _embedder(self) -> tuple[str, Embedder]:
        """The member that gives the features, and its name."""
        return next((name, each) for name, each in self.members.items() if isinstance(each, Embedder))


def _check_same(first: str, expected: Taxonomy, name: str, got: Taxonomy) -> None:
    if got == expected:
        return
    pairs = zip(expected.heads, got.heads, strict=False)
    differing = next((a.name for a, b in pairs if a != b), "the number of heads")
    raise PredictorMismatch(
        f"The members {first!r} and {name!r} have different taxonomies: they differ in {differing}.",
        hint="Members must predict the same heads with the same values in the same order.",
    )


class _Parts(BaseModel):
    """The part of an ensemble's recipe that says how its members are weighted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights: dict[str, float] = {}
    weighting: Literal["fixed", "per_head", "gate"] = "fixed"


def load_ensemble(folder: ModelFolder, load_member: Callable[[ModelFolder], Predictor]) -> Ensemble:
    """The ensemble in a model folder; `load_member` loads each member from its folder.

    Raises:
        ModelFolderError: the recipe is damaged, or the weighting does not fit the members.
        PredictorMismatch: the members cannot be combined.
    """
    try:
        recipe = _Parts.model_validate(folder.recipe)
    except ValidationError as error:
        raise ModelFolderError(f"{folder.path} cannot be loaded: {error}") from error
    members = {name: load_member(member) for name, member in folder.members.items()}
    if recipe.weighting == "fixed":
        return Ensemble.of(members, recipe.weights or None)
    weighting = read_weighting(folder.path, list(members), folder.taxonomy)
    return Ensemble.of(members, recipe.weights or None, weighting)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The scores with the learned and with the fixed weights, and their difference."""

    learned: Scores
    fixed: Scores
    difference: Difference

    def sentence(self) -> str:
        """Which of the two did better, by how much, and how sure that is."""
        low, high = self.difference.interval
        verdict = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
        return (
            f"{verdict} the fixed weights: score {self.learned.total:.4f} against "
            f"{self.fixed.total:.4f}, "
            f"difference {self.difference.mean:+.4f} (95% interval {low:+.4f} to {high:+.4f})"
        )


def measure_gain(
    ensemble: Ensemble, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Gain:
    """Score an ensemble with its learned and with its fixed weights; the members predict once."""
    predicted = ensemble.predict_members(products, reporter=reporter, description="Evaluating")
    learned = ensemble.combine(predicted)
    fixed = ensemble.combine(predicted, ensemble.fixed)
    labels = ensemble.taxonomy.encode_labels(products)
    own, baseline = answers_to(learned, labels), answers_to(fixed, labels)
    difference = paired_difference([own], [baseline])
    return Gain(learned=score(own), fixed=score(baseline), difference=difference)
