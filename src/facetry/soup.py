"""Soups: several trainings from one start, whose weights are averaged into one classifier.

Unlike an ensemble it costs no more than one of them (Wortsman et al. 2022, "Model soups").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facetry.errors import PredictorMismatch
from facetry.models.checkpoint import load_classifier
from facetry.models.classifier import Classifier

Weights = Mapping[str, Tensor]
Score = Callable[[Classifier], float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Soup:
    """A classifier with averaged weights, and in words what went into it."""

    classifier: Classifier
    sentence: str


def uniform_soup(folders: Mapping[str, Path]) -> Soup:
    """The mean of all members' weights.

    Raises:
        PredictorMismatch: members of different forms.
    """
    members = _Members(folders)
    names = list(folders)
    sentence = f"the mean of {', '.join(names)}"
    return Soup(classifier=members.average(names), sentence=sentence)


def greedy_soup(folders: Mapping[str, Path], score: Score) -> Soup:
    """The mean of those members that do not lower the score, tried from the best one down.

    Raises:
        PredictorMismatch: members of different forms.
    """
    members = _Members(folders)
    alone = {name: score(members.average([name])) for name in folders}
    first, *others = sorted(folders, key=lambda name: -alone[name])
    chosen, best = [first], alone[first]
    for name in others:
        reached = score(members.average([*chosen, name]))
        if reached >= best:
            chosen, best = [*chosen, name], reached
    tried = ", ".join(f"{name} ({alone[name]:.4f})" for name in folders)
    sentence = f"of {tried} the mean of {', '.join(chosen)} ({best:.4f} on validation)"
    return Soup(classifier=members.average(chosen), sentence=sentence)


class _Members:
    """Members' weights, and a classifier to put averages of them into."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.classifier, *_ = loaded = [load_classifier(folder) for folder in folders.values()]
        first = next(iter(folders))
        for name, each in zip(folders, loaded, strict=True):
            if _form(each) != _form(self.classifier):
                raise PredictorMismatch(
                    f"The members {first!r} and {name!r} of the soup have weights of different forms.",
                    hint="Members need the same backbone, heads and what else they read.",
                )
        self.weights: dict[str, Weights] = {
            name: {key: tensor.clone() for key, tensor in each.state_dict().items()}
            for name, each in zip(folders, loaded, strict=True)
        }

    def average(self, names: Sequence[str]) -> Classifier:
        """The one classifier, with the mean of some members' weights."""
        self.classifier.load_state_dict(average([self.weights[name] for name in names]))
        return self.classifier


def average(weights: Sequence[Weights]) -> dict[str, Tensor]:
    """The mean of weights of one form; of what is no fraction, such as a count, the first.

    >>> average([{"a": torch.tensor([0.0])}, {"a": torch.tensor([3.0])}])
    {'a': tensor([1.5000])}
    """
    return {
        name: torch.stack([each[name] for each in weights]).mean(dim=0)
        if first.is_floating_point()
        else first
        for name, first in weights[0].items()
    }


def _form(classifier: Classifier) -> tuple[object, ...]:
    """What must be equal for an average to mean anything."""
    shapes = {name: each.shape for name, each in classifier.state_dict().items()}
    return shapes, classifier.preprocesses, classifier.backbone.prunings
