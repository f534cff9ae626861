"""What a training run is given, all of which stays the same while it runs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from facetry.progress import SILENT, Reporter
from facetry.taxonomy import Taxonomy
from facetry.tracking.records import Tracker
from facetry.training.config import TrainingConfig
from facetry.training.data import Examples, Inputs, Rows, epoch_order, in_batches
from facetry.training.loss import Criterion
from facetry.training.processes import ALONE, Processes


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run: what to fit, on what, how, and where its state goes (None: nowhere)."""

    taxonomy: Taxonomy
    config: TrainingConfig
    seed: int
    examples: Examples
    inputs: Inputs
    criterion: Criterion
    device: torch.device
    folder: Path | None = None
    tracker: Tracker | None = None
    processes: Processes = ALONE
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
        """The batches of an epoch: a function of the epoch and what the run is given."""
        examples = self.examples
        rows = epoch_order(examples.train, seed=self.seed, epoch=epoch, factors=examples.factors)
        return in_batches(rows, self.config.batch_size)
