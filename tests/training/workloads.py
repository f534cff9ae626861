"""What tests have done in a process of its own: trainings that are stopped."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.recipe import Recipe
from facetry.runtime.progress import Reporter
from facetry.runtime.signals import Stopped


class Signalling:
    """A reporter that sends its own process a signal after some steps of training."""

    def __init__(self, after: int, number: signal.Signals) -> None:
        self.left = after
        self.number = number
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        def advance(_: int) -> None:
            self.left -= description in {"Training", "Fine-tuning"}
            if not self.left:
                os.kill(os.getpid(), self.number)

        yield advance


def train_until_sigterm(
    recipe: Recipe, catalogue: Path, out: Path, after: int, *, reporter: Reporter
) -> str:
    """Train and be sent SIGTERM after a step; returns what became of it."""
    torch.set_num_threads(1)
    before = signal.getsignal(signal.SIGTERM)
    try:
        train(recipe, open_catalogue(catalogue), out, reporter=Signalling(after, signal.SIGTERM))
    except Stopped:
        assert signal.getsignal(signal.SIGTERM) == before
        return "stopped"
    reporter.say("was not stopped")
    return "finished"


def train_to_the_end(recipe: Recipe, catalogue: Path, out: Path, *, reporter: Reporter) -> None:
    """Train, going on from where it is."""
    torch.set_num_threads(1)
    train(recipe, open_catalogue(catalogue), out, reporter=reporter)


def be_stopped(*, reporter: Reporter) -> None:  # noqa: ARG001
    raise Stopped
