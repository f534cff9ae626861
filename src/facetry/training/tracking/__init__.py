"""Tracking: metrics of a training while it runs, written to files and sent to services."""

from facetry.training.tracking.records import MEASURED, EpochRecord, StepRecord, Tracker
from facetry.training.tracking.services import RUN_ID, RunInfo, Service, require_service
from facetry.training.tracking.trackers import Position, tracking

__all__ = [
    "MEASURED",
    "RUN_ID",
    "EpochRecord",
    "Position",
    "RunInfo",
    "Service",
    "StepRecord",
    "Tracker",
    "tracking",
    "require_service",
]
