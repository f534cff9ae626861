"""A teacher's answers as targets: which are used, their weights, and labels without an answer."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facetry.training.config import LossConfig, TeachConfig
from facetry.training.targets.distillation import Distillation
from facetry.training.targets.loss import Criterion
from tests.models.conftest import ODD

UNKNOWN = -1
CATEGORIES = torch.tensor([1, 1, 1, 1])  # Kurtis: one head of two values
LABELS = torch.tensor([[0], [1], [UNKNOWN], [UNKNOWN]])
SURE, DOUBTFUL, NO_ANSWER = (0.9, 0.1), (0.6, 0.4), (0.0, 0.0)


def padded(rows: list[tuple[float, float]]) -> Tensor:
    full = torch.zeros(len(rows), ODD.num_slots, ODD.num_values)
    full[:, 0, :2] = torch.tensor(rows)
    return full


def widened(labels: Tensor) -> Tensor:
    full = torch.full((len(labels), ODD.num_slots), UNKNOWN)
    full[:, :1] = labels
    return full


def blend(config: dict[str, Any], answers: list[tuple[float, float]], **loss: Any) -> list[list[float]]:
    labels = widened(LABELS)
    criterion = Criterion.of(LossConfig(**loss), ODD, labels, CATEGORIES)
    distillation = Distillation.of(TeachConfig(model="t", **config), padded(answers), labels)
    own = criterion.targets(labels, CATEGORIES)
    targets = distillation.blend(own, torch.arange(4), CATEGORIES, criterion)
    assert not targets[:, 1:].any()
    assert not targets[:, 0, 2:].any()
    return targets[:, 0, :2].tolist()


ANSWERS = [SURE, SURE, SURE, DOUBTFUL]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [[0.95, 0.05], [0.45, 0.55], [0.45, 0.05], [0.3, 0.2]]),
        ({"share": 1}, [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]),
        ({"share": 0.1}, [[0.99, 0.01], [0.09, 0.91], [0.09, 0.01], [0.06, 0.04]]),
        ({"missing": False}, [[0.95, 0.05], [0.45, 0.55], [0, 0], [0, 0]]),
        ({"hard": True}, [[1, 0], [0.5, 0.5], [0.5, 0], [0.5, 0]]),
        ({"hard": True, "min_confidence": 0.7}, [[1, 0], [0.5, 0.5], [0.5, 0], [0, 0]]),
        ({"min_confidence": 0.7}, [[0.95, 0.05], [0.45, 0.55], [0.45, 0.05], [0, 0]]),
        ({"min_confidence": 0.95}, [[1, 0], [0, 1], [0, 0], [0, 0]]),
        # (0.9, 0.1) to the power of 1/2 is (3, 1) / sqrt(10).
        ({"temperature": 2, "share": 1}, [[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.5505, 0.4495]]),
    ],
    ids=str,
)
def test_targets_follow_labels_and_teacher(config: dict[str, Any], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(blend(config, ANSWERS), expected, atol=1e-4)


def test_without_an_answer_the_target_is_the_labels() -> None:
    assert blend({}, [NO_ANSWER, SURE, NO_ANSWER, SURE])[0] == [1, 0]
    assert blend({}, [NO_ANSWER, SURE, NO_ANSWER, SURE])[2] == [0, 0]


def test_an_answers_weight_is_the_mean_weight_of_its_values() -> None:
    """Three labels of the first value and one of the second: their balanced weights are 2/3 and 2."""
    labels = widened(torch.tensor([[0], [0], [0], [1]]))
    criterion = Criterion.of(LossConfig(class_weights="balanced"), ODD, labels, CATEGORIES)
    answers = padded([(1, 0), (0, 1), (0.5, 0.5), NO_ANSWER])
    weights = criterion.weighted(answers, CATEGORIES).sum(dim=(1, 2))
    np.testing.assert_allclose(weights, [2 / 3, 2, 4 / 3, 0], rtol=1e-5)


def test_nothing_is_learned_from_padding() -> None:
    """-inf in logits and 0 in targets: no loss, no gradient, no NaN."""
    labels = widened(LABELS)
    criterion = Criterion.of(LossConfig(), ODD, labels, CATEGORIES)
    distillation = Distillation.of(TeachConfig(model="t"), padded(ANSWERS), labels)
    targets = distillation.blend(
        criterion.targets(labels, CATEGORIES), torch.arange(4), CATEGORIES, criterion
    )
    logits = torch.full(targets.shape, -torch.inf)
    logits[:, 0, :2] = 0.3
    logits.requires_grad_()
    loss = criterion(logits, targets)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, 1:].any()


def test_the_description_counts_answers_with_and_without_labels() -> None:
    distillation = Distillation.of(TeachConfig(model="t"), padded(ANSWERS), widened(LABELS))
    sentence = distillation.describe(widened(LABELS), torch.tensor([0, 1, 2]))
    assert sentence == "The teacher answers 2 known labels and 1 missing ones."
