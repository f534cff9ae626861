"""The drawn catalogue: garments with the challenge's categories, labels, missing labels and faults."""

from facetry.demo.garments.config import FaultRates, SampleConfig, SampleSummary
from facetry.demo.garments.write import draw_catalogue, require_drawn, require_free

__all__ = [
    "FaultRates",
    "SampleConfig",
    "SampleSummary",
    "draw_catalogue",
    "require_drawn",
    "require_free",
]
