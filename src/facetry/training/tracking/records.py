"""What training tells of a step and of an epoch, and whom it tells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from facetry.taxonomy import Head

MEASURED: Final = ("photos_per_s", "waiting_share", "memory_mib", "seconds")
"""The figures that are of this run on this machine: all others are the same each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One step of the optimiser.

    `step` and `epoch` count from 1, `step` over the whole training. `loss_by_head` has the heads with a
    label in the batch. `learning_rates` go by what learns at them, `backbone` and `heads`.
    `gradient_norm` is the norm before clipping. `waiting_share` is the share of the step's time that
    went by before its photos were there. `memory_mib` is the most that was in use so far: of the
    device, or of the process on the CPU.
    """

    step: int
    epoch: int
    loss: float
    gradient_norm: float
    learning_rates: Mapping[str, float]
    photos_per_s: float
    waiting_share: float
    memory_mib: float
    loss_by_head: Mapping[Head, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One epoch, from 1, which ends with the step `step`; losses and the norm are means over it.

    `score` and `score_by_head` are of the validation part: NaN, or not there, where it has no label.
    `seconds` are for all of the epoch, validation included; the other figures are as in a step. NaN is
    what was not measured.
    """

    epoch: int
    step: int
    loss: float
    score: float
    learning_rates: Mapping[str, float]
    photos_per_s: float
    memory_mib: float
    seconds: float
    gradient_norm: float = math.nan
    waiting_share: float = math.nan
    loss_by_head: Mapping[Head, float] = field(default_factory=dict)
    score_by_head: Mapping[Head, float] = field(default_factory=dict)


class Tracker(Protocol):
    """Is told how training goes.

    A step is told before a checkpoint holds it: one that is told again after an interruption is the
    same step.
    """

    def log_step(self, record: StepRecord) -> None:
        """Take in one step."""
        ...

    def log_epoch(self, record: EpochRecord) -> None:
        """Take in one epoch."""
        ...

    def finish(self) -> None:
        """Nothing more will come from this process: training is done, stopped or has failed."""
        ...
