"""Distillation: targets that combine the labels with a teacher's answers.

Shapes: N products, B in a batch, A slots, V values.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from facetry.training.config import TeachConfig
from facetry.training.targets.loss import Criterion

ANSWERS = "teacher"
"""The folder of a teacher's answers within the folder of a training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Distillation:
    """A teacher's answers on the products of a training; `of` makes them from its probabilities.

    `answers` (N, A, V) sum to 1 over the values where the teacher is followed, and to 0 elsewhere.
    `share` is the answers' share of a target whose label is known.
    """

    answers: Tensor
    share: float

    @classmethod
    def read(cls, config: TeachConfig, folder: Path, labels: Tensor) -> "Distillation":
        """Read the answers from the `folder` of a training; `labels` are as in `of`.

        The stored answers cover the first products; those after them have none.
        """
        parts = [torch.from_numpy(np.load(path)) for path in sorted((folder / ANSWERS).glob("*.npy"))]
        stored = torch.cat(parts)
        probabilities = torch.zeros(len(labels), *stored.shape[1:])
        probabilities[: len(stored)] = stored
        return cls.of(config, probabilities, labels)

    @classmethod
    def of(cls, config: TeachConfig, probabilities: Tensor, labels: Tensor) -> "Distillation":
        """Make answers from a teacher's probabilities (N, A, V), all 0 where it has none.

        `labels` (N, A) are -1 where they are not known.
        """
        confidence, best = probabilities.max(dim=-1)  # N A
        is_followed = (confidence > 0) & (confidence >= config.min_confidence)
        if not config.missing:
            is_followed &= labels >= 0
        if config.hard:
            answers = functional.one_hot(best, probabilities.shape[-1]).float()
        else:
            softened = probabilities ** (1 / config.temperature)
            answers = softened / softened.sum(dim=-1, keepdim=True).clamp_min(1e-12)
        return cls(answers=answers * is_followed[..., None], share=config.share)

    def blend(self, own: Tensor, rows: Tensor, categories: Tensor, criterion: Criterion) -> Tensor:
        """Mix the labels' targets `own` (B, A, V) with the teacher's answers on `rows`.

        The result is (1 - share) * own + share * answer where the teacher has an answer, and `own`
        elsewhere. Where the label is missing, `own` is 0 and only share * answer is left. An answer has
        the mean weight of the values it names, weighted by their probabilities.
        """
        answers = criterion.weighted(self.answers[rows].to(own.device), categories)
        share = self.share * (answers.sum(dim=-1, keepdim=True) > 0)
        return own + share * (answers - own)

    def describe(self, labels: Tensor, rows: Tensor) -> str:
        """A sentence on how many labels of `rows` the teacher answers; `labels` are as in `of`."""
        is_followed, labels = self.answers[rows].sum(dim=-1) > 0, labels[rows]
        num_known = int((is_followed & (labels >= 0)).sum())
        num_missing = int((is_followed & (labels < 0)).sum())
        return f"The teacher answers {num_known:,} known labels and {num_missing:,} missing ones."
