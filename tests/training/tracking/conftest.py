"""Records of a training of two epochs with three steps each."""

import math
from collections.abc import Iterable

import pytest

from facetry.taxonomy import Head
from facetry.training.tracking import EpochRecord, StepRecord, Tracker

History = list[StepRecord | EpochRecord]

BORDER = Head("Sarees", "border", ("solid", "zari"))
NECK = Head("T-Shirts", "neck", ("polo", "round"))
STEPS_PER_EPOCH = 3


def log_all(tracker: Tracker, records: Iterable[StepRecord | EpochRecord]) -> None:
    for record in records:
        if isinstance(record, StepRecord):
            tracker.log_step(record)
        else:
            tracker.log_epoch(record)


def step_record(step: int) -> StepRecord:
    return StepRecord(
        step=step,
        epoch=1 + (step - 1) // STEPS_PER_EPOCH,
        loss=1 / step,
        gradient_norm=0.5,
        learning_rates={"backbone": 1e-5, "heads": 1e-3},
        photos_per_s=10.0,
        waiting_share=0.01,
        memory_mib=100.0,
        loss_by_head={BORDER: 1 / step} if step % 2 else {BORDER: 0.1, NECK: 0.2},
    )


def epoch_record(epoch: int) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=epoch * STEPS_PER_EPOCH,
        loss=1 / epoch,
        score=math.nan if epoch == 1 else 0.75,
        gradient_norm=0.5,
        learning_rates={"backbone": 1e-5, "heads": 1e-3},
        photos_per_s=10.0,
        waiting_share=0.01,
        memory_mib=100.0,
        seconds=2.0,
        loss_by_head={BORDER: 0.5, NECK: 0.25},
        score_by_head={} if epoch == 1 else {NECK: 0.75},
    )


@pytest.fixture
def history() -> History:
    """All records in the order in which they come."""
    records: History = []
    for epoch in (1, 2):
        first = (epoch - 1) * STEPS_PER_EPOCH + 1
        records += [step_record(step) for step in range(first, first + STEPS_PER_EPOCH)]
        records.append(epoch_record(epoch))
    return records
