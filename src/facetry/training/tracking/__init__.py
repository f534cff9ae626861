"""Tracking: what training tells of itself while it runs, to files and to services."""

from facetry.training.tracking.records import MEASURED, EpochRecord, StepRecord, Tracker
from facetry.training.tracking.services import RUN_ID, About, Service, require_service
from facetry.training.tracking.trackers import Position, tracking

__all__ = [
    "MEASURED",
    "RUN_ID",
    "About",
    "EpochRecord",
    "Position",
    "Service",
    "StepRecord",
    "Tracker",
    "tracking",
    "require_service",
]
