"""A runner of trials that trains nothing."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from facetry.errors import NotEnoughData
from facetry.experiments.tune.runners import OnEpoch
from facetry.recipe import ClassifierRecipe, Recipe
from facetry.runtime.progress import Reporter


@dataclass(frozen=True)
class Scripted:
    """What a trial does follows from the width of its heads."""

    is_light = True

    def prepare(self, reporter: Reporter) -> None:
        reporter.say("prepared")

    def score(self, recipe: Recipe, place: Path, on_epoch: OnEpoch | None) -> float:
        assert isinstance(recipe, ClassifierRecipe)
        width = recipe.heads.hidden_dim
        if width == 1:
            raise NotEnoughData("Nothing to train on.")
        if width == 2:
            raise ZeroDivisionError("by nothing")
        if width == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if width == 4:
            return float("nan")
        if width == 5 and not place.exists():  # only the first time
            place.mkdir(parents=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if width == 6:
            signal.pause()  # for ever
        for epoch in range(1, 5):
            if on_epoch:
                on_epoch(epoch, width / 1000)
        return width / 1000
