"""What came out of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from facetry.recipe import Recipe
from facetry.tune.config import SamplerName
from facetry.tune.space import Space
from facetry.tune.trials import Trial, ranked


@dataclass(frozen=True)
class Findings:
    """All trials in the order in which they began, and what each key has to do with success.

    `importances` add up to 1; they are empty where there are too few trials to tell.
    """

    space: Space
    sampler: SamplerName
    trials: Sequence[Trial]
    importances: Mapping[str, float]

    @cached_property
    def ranking(self) -> list[Trial]:
        """The trials that were trained to the end, best first."""
        return ranked(self.trials)

    @property
    def best(self) -> Trial | None:
        """The trial with the highest score."""
        return self.ranking[0] if self.ranking else None

    @property
    def best_recipe(self) -> Recipe | None:
        """Its recipe."""
        return self.space.recipe(self.best.settings) if self.best else None
