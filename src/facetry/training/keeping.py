"""A trained tower drawn back to where it started (WiSE-FT; Wortsman et al. 2022).

Weights halfway between the pretrained and the fine-tuned ones often see as well as these and fail less
on photos that are unlike those learned from.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from facetry.models.classifier import Classifier
from facetry.training.fit import validate
from facetry.training.notes import write_note
from facetry.training.run import Run
from facetry.training.sharding import load_weights
from facetry.training.state import TrainingState

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""The starting weights' shares that `auto` chooses from."""

_NOTE = "starting weights"
_TOWER = "backbone."
_BATCH_SIZE = 64


def tower_weights(classifier: Classifier) -> dict[str, Tensor]:
    """A copy of the tower's weights, called as they are in the classifier."""
    return {
        name: each.detach().cpu().clone()
        for name, each in classifier.state_dict().items()
        if name.startswith(_TOWER)
    }


def draw_back(run: Run, state: TrainingState, start: Mapping[str, Tensor], folder: Path) -> None:
    """Average the best weights of a finished training with those that the tower had at its start."""
    wanted, told = run.config.keep_start, ""
    if wanted == "auto":
        scores = {each: _score(run, state, start, each) for each in SHARES}
        share = max(SHARES, key=lambda each: scores[each])  # the first, so the smallest, of equals
        told = f" (validation {scores[share]:.4f}; {scores[0.0]:.4f} without)"
    else:
        share = wanted
    state.best_weights = mixed(state.best_weights, start, share)
    if run.processes.is_main:
        sentence = f"the tower's weights are {share:.0%} those that it started with{told}"
        write_note(folder, _NOTE, sentence)
        run.reporter.say(f"{sentence[0].upper()}{sentence[1:]}.")


def mixed(
    trained: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float
) -> Mapping[str, Tensor]:
    """The `trained` weights with a `share` of those in `start`; what is only in one is left as it is."""
    return {
        name: each.lerp(start[name], share) if name in start and each.is_floating_point() else each
        for name, each in trained.items()
    }


def _score(run: Run, state: TrainingState, start: Mapping[str, Tensor], share: float) -> float:
    load_weights(state.model, mixed(state.best_weights, start, share))
    return validate(run, state.model, max(run.config.batch_size, _BATCH_SIZE)).score
