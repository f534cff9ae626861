"""What a training run is made of, and the state it begins with."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from facetry.errors import SettingError
from facetry.models.classifier.classifier import Classifier
from facetry.models.towers.device import compute_dtype
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, Inputs, Rows, epoch_order, in_batches
from facetry.training.distributed.gradients import make_equal
from facetry.training.distributed.processes import SINGLE_PROCESS, Processes
from facetry.training.distributed.sharding import shard
from facetry.training.optimiser import MovingAverage, build_optimiser
from facetry.training.state import TrainingState
from facetry.training.targets.loss import Criterion
from facetry.training.tracking.records import Tracker


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run: what to fit, on what, how, and in which `folder` to save (None: do not)."""

    taxonomy: Taxonomy
    config: TrainingConfig
    seed: int
    examples: Examples
    inputs: Inputs
    criterion: Criterion
    device: torch.device
    folder: Path | None = None
    tracker: Tracker | None = None
    processes: Processes = SINGLE_PROCESS
    reporter: Reporter = SILENT

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch, the last partial batch included."""
        return -(-self.examples.num_per_epoch // self.config.batch_size)

    @property
    def num_steps(self) -> int:
        """Optimiser steps in all."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def share_size(self) -> int:
        """How many products of a whole batch each process gets."""
        return -(-self.config.batch_size // self.processes.num)

    def order(self, epoch: int) -> list[Rows]:
        """The batches of an epoch, which depend only on the epoch, the seed and the examples."""
        examples = self.examples
        rows = epoch_order(examples.train, seed=self.seed, epoch=epoch, factors=examples.factors)
        return in_batches(rows, self.config.batch_size)


def start(run: Run, model: nn.Module) -> TrainingState:
    """Build optimiser, loss scaling and averaged weights for a model on the run's device.

    If the weights are sharded over processes, a copy is trained and the model is moved to the CPU.

    Raises:
        SettingError: sharded weights in fp16.
    """
    is_fp16 = compute_dtype(run.config.precision, run.device) == torch.float16
    make_equal(run.processes, model)
    if run.processes.is_sharded and isinstance(model, Classifier):
        if is_fp16:
            raise SettingError(
                "Weights that are spread over processes cannot be trained in fp16.",
                hint="Set training.precision to bf16 or fp32, or leave out --shard.",
            )
        model = shard(model, run.device, run.processes.num)
    return TrainingState(
        model=model,
        optimiser=build_optimiser(model, run.config),
        scaler=torch.amp.GradScaler(run.device.type, enabled=is_fp16),
        average=MovingAverage(model, run.config.ema_decay) if run.config.ema_decay else None,
        num_parts=run.config.accumulation,
    )
