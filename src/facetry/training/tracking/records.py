"""The metrics of a step and of an epoch, and the protocol of what records them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from facetry.taxonomy import Head

MEASURED: Final = ("photos_per_s", "waiting_share", "memory_mib", "seconds")
"""The figures that depend on the run and the machine: all others are the same each time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepRecord:
    """One step of the optimiser.

    `step` and `epoch` count from 1, `step` over the whole training. `loss_by_head` has the heads with a
    label in the batch. `learning_rates` are by parameter group, `backbone` and `heads`. `gradient_norm`
    is the norm before clipping. `waiting_share` is the share of the step's time spent waiting for its
    photos. `memory_mib` is the peak so far: of the device, or of the process on the CPU.
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
    """One epoch, counted from 1, whose last step is `step`; losses and the norm are means over it.

    `score` and `score_by_head` are of the validation part: NaN, or a missing head, where it has no
    label. `seconds` is the time of the epoch with its validation; the other figures are as in
    `StepRecord`. Figures that were not measured are NaN.
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
    """Records how training goes.

    Steps are logged before a checkpoint includes them, so after an interruption some are logged twice,
    with the same figures.
    """

    def log_step(self, record: StepRecord) -> None:
        """Record one step."""
        ...

    def log_epoch(self, record: EpochRecord) -> None:
        """Record one epoch."""
        ...

    def finish(self) -> None:
        """End the record of this process: training is done, was stopped or failed."""
        ...
