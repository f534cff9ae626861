"""Everything that training needs to go on as if it had never stopped.

Saved between epochs. What happens inside an epoch depends on it and on the seed alone: the order and
the augmentation are functions of (seed, epoch, row), dropout follows torch's own generator.
"""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facetry.errors import TrainingError
from facetry.files import writing

STATE = "state.pt"


@dataclass(kw_only=True)
class TrainingState:
    """Model, optimiser and loss scaling, the epochs done, their log, and the best weights so far."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = -1.0
    best_weights: Mapping[str, Tensor] = field(default_factory=dict)

    def keep_best(self, score: float) -> None:
        """Remember the weights if `score` beats the best so far; the last epoch's if there is none."""
        if math.isnan(score) or score > self.best_score:
            self.best_score = -1.0 if math.isnan(score) else score
            self.best_weights = {
                name: each.detach().cpu().clone() for name, each in self.model.state_dict().items()
            }

    def save(self, folder: Path) -> None:
        """Write the state, whole or not at all; a full disk leaves the older one intact.

        Raises:
            TrainingError: it could not be written.
        """
        content = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
            "best_score": self.best_score,
            "best_weights": dict(self.best_weights),
            "rng": _rng_states(),
        }
        try:
            with writing(folder / STATE) as draft:
                torch.save(content, draft)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            raise TrainingError(
                f"The checkpoint after epoch {self.epoch} could not be written: {error}",
                hint="The one before is intact. Make room on the disk, then run the same command again.",
            ) from error

    def restore(self, folder: Path) -> bool:
        """Go back to what was saved in `folder`; False where nothing was.

        Raises:
            TrainingError: the file is damaged.
        """
        path = folder / STATE
        if not path.is_file():
            return False
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(content["model"])
            self.optimiser.load_state_dict(content["optimiser"])
        except Exception as error:
            raise TrainingError(
                f"The checkpoint {path} cannot be read: {error}",
                hint="Delete its folder to start again.",
            ) from error
        self.scaler.load_state_dict(content["scaler"])
        self.epoch = content["epoch"]
        self.history = content["history"]
        self.best_score = content["best_score"]
        self.best_weights = content["best_weights"]
        _restore_rng(content["rng"])
        return True


def write_log(folder: Path, history: list[dict[str, float]]) -> None:
    """Write the log of all epochs so far as `log.csv` and `log.jsonl`."""
    with writing(folder / "log.jsonl") as draft:
        draft.write_text("".join(f"{_json_row(row)}\n" for row in history), encoding="utf-8")
    with (
        writing(folder / "log.csv") as draft,
        draft.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(history[0]) if history else [])
        writer.writeheader()
        writer.writerows(history)


def _json_row(row: Mapping[str, float]) -> str:
    """A row as JSON, which knows no NaN."""
    return json.dumps({key: None if math.isnan(value) else value for key, value in row.items()})


def _rng_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _restore_rng(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
