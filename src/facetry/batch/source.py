"""Where a predictor comes from, in a form that other processes can be sent."""

from dataclasses import dataclass
from typing import Protocol

from facetry.predictions import Predictor
from facetry.runtime.progress import Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A predictor, and a digest of all that its answers depend on."""

    predictor: Predictor
    fingerprint: str


class PredictorSource(Protocol):
    """Loads a predictor; it can be pickled."""

    def open(self, reporter: Reporter) -> Loaded:
        """Load the predictor; the `reporter` says which engine it runs on."""
        ...
