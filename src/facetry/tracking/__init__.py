"""Tracking: what training tells of itself while it runs, to files and to services."""

from facetry.tracking.records import MEASURED, EpochRecord, StepRecord, Tracker
from facetry.tracking.services import RUN_ID, About, Service, require_service
from facetry.tracking.trackers import Position, tracking

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
