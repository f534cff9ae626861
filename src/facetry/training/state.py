"""Everything that training needs to go on as if it had never stopped.

What happens in a step depends on this and on the seed alone: the order, the augmentation and what
dropout draws are functions of (seed, epoch, step, row), so no generator's state is kept.

Shapes: H heads.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facetry.errors import WriteFailed
from facetry.progress import SILENT, Reporter
from facetry.training import checkpoints
from facetry.training.averaging import MovingAverage
from facetry.training.sharding import gather, load_optimiser, load_weights
from facetry.training.tally import Tally


@dataclass(kw_only=True)
class TrainingState:
    """Model, optimiser, loss scaling and averaged weights, how far it is, and the best weights so far.

    `epoch` and `step` are done ones, `step` in the epoch at hand, `num_steps` in all. A step goes
    through the model in `num_parts` parts at least. `tally` is of the epoch at hand.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: MovingAverage | None = None
    epoch: int = 0
    step: int = 0
    num_steps: int = 0
    num_parts: int = 1
    tally: Tally = field(default_factory=Tally)
    best_score: float = -1.0
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_file: str = ""

    def averaged(self) -> AbstractContextManager[None]:
        """Where the model has averaged weights, if they are averaged."""
        return self.average.applied() if self.average else nullcontext()

    def keep_best(self, score: float) -> None:
        """Remember the weights if `score` beats the best so far; the last epoch's if there is none."""
        if math.isnan(score) or score > self.best_score:
            self.best_score = -1.0 if math.isnan(score) else score
            self.best_weights = {
                name: each.detach().cpu().clone()
                for name, each in gather(self.model.state_dict()).items()
            }
            self.best_step, self.best_file = self.num_steps, ""

    def end_step(self, step: Tally) -> None:
        """Count a step as done."""
        self.step, self.num_steps, self.tally = self.step + 1, self.num_steps + 1, self.tally + step

    def end_epoch(self) -> None:
        """Count the epoch at hand as done."""
        self.epoch, self.step, self.tally = self.epoch + 1, 0, Tally()

    def save(self, folder: Path | None) -> None:
        """Write a checkpoint below `folder`, whole or not at all; older ones are removed after.

        With None it is another process that writes, and this one gives it what it has of the weights.

        Raises:
            WriteFailed: it could not be written; the older ones are intact.
        """
        content = gather(self._content(), keeps=folder is not None)
        if folder is None:
            return
        place = folder / checkpoints.FOLDER
        try:
            if self.best_weights and not self.best_file:
                self.best_file = checkpoints.write_checkpoint(
                    place, "best", self.best_step, self.best_weights
                )
            content["best_file"] = self.best_file
            written = checkpoints.write_checkpoint(place, "step", self.num_steps, content)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise WriteFailed(
                f"The checkpoint in epoch {self.epoch + 1} could not be written: {error}",
                hint="The one before is intact. Make room on the disk, then run the same command again.",
            ) from error
        checkpoints.prune(place, written)

    def restore(self, folder: Path, reporter: Reporter = SILENT) -> bool:
        """Go back to the newest checkpoint below `folder` that is whole; False where there is none.

        Raises:
            FolderDamaged: there are checkpoints, and none can be gone on from.
        """
        found = checkpoints.states(folder / checkpoints.FOLDER)
        for path in found:
            if checkpoints.is_whole(path):
                content = checkpoints.read_checkpoint(path)
                best = path.with_name(content["best_file"]) if content["best_file"] else None
                if best is None or checkpoints.is_whole(best):
                    self._take(content, path)
                    self.best_weights = checkpoints.read_checkpoint(best) if best else {}
                    return True
            reporter.say(f"The checkpoint {path.name} is damaged and is passed over.")
        if found:
            raise checkpoints.damaged(found[0], "no checkpoint beside it is whole either.")
        return False

    def describe(self, num_epochs: int) -> str:
        """Where it is, as a sentence."""
        steps = "1 step" if self.step == 1 else f"{self.step} steps"
        further = f", {steps} into the next" if self.step else ""
        return f"Going on after epoch {self.epoch} of {num_epochs}{further}."

    def _content(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "tally": self.tally.state_dict(),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    def _take(self, content: Mapping[str, Any], path: Path) -> None:
        try:
            load_weights(self.model, content["model"])
            load_optimiser(self.optimiser, content["optimiser"])
            self.scaler.load_state_dict(content["scaler"])
            if self.average:
                self.average.load_state_dict(content["average"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise checkpoints.damaged(path, error) from error
        self.tally = Tally.from_state_dict(content["tally"])
        for name in _PLAIN:
            setattr(self, name, content[name])


_PLAIN = ("epoch", "step", "num_steps", "num_parts", "best_score", "best_step", "best_file")
"""What is kept as it is."""
