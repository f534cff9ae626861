"""What a student learns from a teacher's answers, beside its products' labels.

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
"""The folder with a teacher's answers, in that of a training."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Distillation:
    """A teacher's answers to the products of a training; `of` makes it of its probabilities.

    `answers` (N, A, V) sum to 1 over the values where the teacher is followed, and to 0 elsewhere.
    """

    answers: Tensor
    share: float

    @classmethod
    def read(cls, config: TeachConfig, folder: Path, labels: Tensor) -> "Distillation":
        """What is learned of the answers in the `folder` of a training; `labels` are as in `of`.

        They are to the first products, as many as the teacher was asked about.
        """
        parts = [torch.from_numpy(np.load(path)) for path in sorted((folder / ANSWERS).glob("*.npy"))]
        told = torch.cat(parts)
        probabilities = torch.zeros(len(labels), *told.shape[1:])
        probabilities[: len(told)] = told
        return cls.of(config, probabilities, labels)

    @classmethod
    def of(cls, config: TeachConfig, probabilities: Tensor, labels: Tensor) -> "Distillation":
        """What is learned of a teacher's probabilities (N, A, V), 0 where it says nothing.

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
        """Targets (B, A, V) that follow labels and teacher.

        They are (1 - share) * own + share * the teacher's where there is an answer of the teacher, and
        their `own` where there is none. Where `own` is 0, as the label is missing, the teacher's share
        stands alone. A teacher's answer weighs what labels like it do: the mean of their weights.
        """
        told = criterion.weighed(self.answers[rows].to(own.device), categories)
        share = self.share * (told.sum(dim=-1, keepdim=True) > 0)
        return own + share * (told - own)

    def describe(self, labels: Tensor, rows: Tensor) -> str:
        """How much there is to learn of some rows, as a sentence; `labels` are as in `of`."""
        is_followed, labels = self.answers[rows].sum(dim=-1) > 0, labels[rows]
        num_known = int((is_followed & (labels >= 0)).sum())
        num_missing = int((is_followed & (labels < 0)).sum())
        return f"The teacher answers {num_known:,} known labels and {num_missing:,} missing ones."
