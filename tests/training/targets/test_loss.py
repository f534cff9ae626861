"""The loss: each option does what its formula says, and nothing where it is off."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from facetry.taxonomy import Taxonomy
from facetry.training.config import LossConfig
from facetry.training.targets.loss import Criterion

# Two categories: the first has no second slot. Heads have one, two and three values.
TAXONOMY = Taxonomy.of({"Bags": {"shape": ["f"]}, "Tops": {"fit": ["d", "e"], "neck": ["a", "b", "c"]}})
CATEGORIES = torch.tensor([1, 1, 0, -1])
LABELS = torch.tensor([[0, -1], [1, 2], [0, -1], [-1, -1]])
INF = math.inf
LOGITS = torch.tensor(
    [
        [[1.0, 0.0, -INF], [2.0, 0.0, 1.0]],
        [[0.5, 3.0, -INF], [0.0, 0.0, 0.0]],
        [[4.0, -INF, -INF], [-INF] * 3],
        [[-INF] * 3, [-INF] * 3],
    ]
)
KNOWN = [(0, 0), (1, 0), (1, 1), (2, 0)]

# Training rows: fit has 3 labels (2, 1), neck has 2 (2), shape has 1.
TRAIN_CATEGORIES = torch.tensor([1, 1, 1, 0, 1])
TRAIN_LABELS = torch.tensor([[0, 0], [0, -1], [1, 0], [0, -1], [-1, -1]])

ALL_ON = {
    "average": "head",
    "class_weights": "effective",
    "label_smoothing": 0.1,
}


def make(**config: object) -> Criterion:
    return Criterion.of(LossConfig.model_validate(config), TAXONOMY, TRAIN_LABELS, TRAIN_CATEGORIES)


def losses(logits: Tensor = LOGITS) -> Tensor:
    """Cross-entropy of each known label, in the order of KNOWN."""
    rows, slots = zip(*KNOWN, strict=True)
    return functional.cross_entropy(logits[rows, slots], LABELS[rows, slots], reduction="none")


def loss_of(criterion: Criterion, weights: Tensor | None = None, logits: Tensor = LOGITS) -> float:
    return criterion(logits, criterion.targets(LABELS, CATEGORIES, weights)).item()


def test_off_it_is_the_sum_of_the_known_labels_cross_entropies() -> None:
    criterion = make()
    assert loss_of(criterion) == pytest.approx(losses().sum().item())
    targets = criterion.targets(LABELS, CATEGORIES)
    expected = torch.zeros(4, 2, 3)
    for row, slot in KNOWN:
        expected[row, slot, LABELS[row, slot]] = 1
    assert torch.equal(targets, expected)
    assert targets.dtype == torch.float32


def test_each_labels_loss_is_known() -> None:
    criterion = make()
    each = criterion.by_label(LOGITS, criterion.targets(LABELS, CATEGORIES))
    assert [each[place].item() for place in KNOWN] == pytest.approx(losses().tolist())
    assert each.sum().item() == pytest.approx(losses().sum().item())


def test_weights_multiply() -> None:
    weights = torch.tensor([[2.0, 9.0], [0.5, 1.0], [3.0, 1.0], [1.0, 1.0]])
    expected = (torch.tensor([2.0, 0.5, 1.0, 3.0]) * losses()).sum().item()
    assert loss_of(make(), weights) == pytest.approx(expected)
    both = make(average="head").targets(LABELS, CATEGORIES, weights)
    alone = make(average="head").targets(LABELS, CATEGORIES)
    assert torch.equal(both, alone * weights[..., None])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # 6 labels in 3 heads: fit has 3, neck 2, shape 1.
        ({"average": "head"}, [2 / 3, 2 / 3, 1, 2]),
        # Fit has 2 of one value and 1 of the other; neck has no label of the value here.
        ({"class_weights": "balanced"}, [3 / 4, 3 / 2, 1, 1]),
        ({"class_weights": "balanced", "average": "head"}, [1 / 2, 1, 1, 2]),
        # b = 2/3, effective numbers 5/3 and 1: weights 3/5 and 1, scaled to a mean of 1.
        ({"class_weights": "effective"}, [9 / 11, 15 / 11, 1, 1]),
    ],
)
def test_a_labels_weight_follows_from_its_head_and_value(
    config: dict[str, object], expected: Sequence[float]
) -> None:
    mass = make(**config).targets(LABELS, CATEGORIES).sum(dim=-1)
    assert [mass[place].item() for place in KNOWN] == pytest.approx(expected)
    assert mass.sum().item() == pytest.approx(sum(expected))


@pytest.mark.parametrize("config", [{"average": "head"}, {"class_weights": "balanced"}, ALL_ON])
def test_training_labels_weigh_1_on_average(config: dict[str, object]) -> None:
    targets = make(**config).targets(TRAIN_LABELS, TRAIN_CATEGORIES)
    assert targets.sum().item() == pytest.approx(6)


@pytest.mark.parametrize(
    "config",
    [
        {"average": "head"},
        {"class_weights": "balanced"},
        {"class_weights": "effective"},
        {"label_smoothing": 0.1},
    ],
    ids=str,
)
def test_each_option_makes_another_loss(config: dict[str, object]) -> None:
    assert loss_of(make(**config)) != pytest.approx(loss_of(make()))


def test_smoothing_spreads_over_the_heads_own_values() -> None:
    targets = make(label_smoothing=0.3).targets(LABELS, CATEGORIES)
    assert targets[0, 0].tolist() == pytest.approx([0.85, 0.15, 0])
    assert targets[1, 1].tolist() == pytest.approx([0.1, 0.1, 0.8])
    assert targets[2, 0].tolist() == pytest.approx([1, 0, 0]), "one value cannot be less sure"
    assert not targets[[0, 2, 3], [1, 1, 0]].any()
    reference = functional.cross_entropy(LOGITS[1, 1], LABELS[1, 1], label_smoothing=0.3)
    each = make(label_smoothing=0.3).by_label(LOGITS, targets)
    assert each[1, 1].item() == pytest.approx(reference.item())


@pytest.mark.parametrize("config", [{}, ALL_ON], ids=["plain", "all on"])
class TestWhereNothingIsToBeLearned:
    def test_there_is_no_loss_and_no_gradient(self, config: dict[str, object]) -> None:
        logits = LOGITS.clone().requires_grad_()
        criterion = make(**config)
        targets = criterion.targets(torch.full_like(LABELS, -1), CATEGORIES)
        loss = criterion(logits, targets)
        loss.backward()
        assert targets.sum() == 0
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))

    def test_unknown_labels_have_no_gradient_and_the_others_have(
        self, config: dict[str, object]
    ) -> None:
        logits = LOGITS.clone().requires_grad_()
        criterion = make(**config)
        criterion(logits, criterion.targets(LABELS, CATEGORIES)).backward()
        assert logits.grad.isfinite().all()
        is_moved = (logits.grad != 0).any(dim=-1)
        assert is_moved.tolist() == [[True, False], [True, True], [False, False], [False, False]]

    def test_a_label_of_an_unknown_category_or_slot_counts_for_nothing(
        self, config: dict[str, object]
    ) -> None:
        criterion = make(**config)
        targets = criterion.targets(torch.zeros(2, 2, dtype=torch.int64), torch.tensor([-1, 0]))
        assert not targets[0].any()
        assert not targets[1, 1].any()
        assert targets[1, 0].sum() > 0

    def test_an_empty_batch_has_no_loss(self, config: dict[str, object]) -> None:
        criterion = make(**config)
        targets = criterion.targets(LABELS[:0], CATEGORIES[:0])
        assert criterion(LOGITS[:0], targets).item() == 0


@pytest.mark.parametrize("config", [{}, ALL_ON], ids=["plain", "all on"])
def test_parts_add_up_to_the_whole(config: dict[str, object]) -> None:
    criterion = make(**config)
    parts = [slice(0, 1), slice(1, 4)]
    whole = loss_of(criterion)
    total = sum(
        criterion(LOGITS[part], criterion.targets(LABELS[part], CATEGORIES[part])) for part in parts
    )
    assert float(total) == pytest.approx(whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_single_precision(dtype: torch.dtype) -> None:
    rounded = LOGITS.to(dtype)
    loss = loss_of(make(), logits=rounded)
    assert loss == pytest.approx(losses(rounded.float()).sum().item(), rel=1e-6)
    criterion = make()
    assert criterion(rounded, criterion.targets(LABELS, CATEGORIES)).dtype == torch.float32


@pytest.mark.parametrize("fault", [math.nan, math.inf, -math.inf])
def test_an_infinite_loss_is_not_hidden(fault: float) -> None:
    logits = LOGITS.clone()
    logits[0, 0, 0] = fault  # the logit of a label to learn
    assert not math.isfinite(loss_of(make(), logits=logits))


@pytest.mark.parametrize("option", ALL_ON)
def test_every_option_has_an_effect(option: str) -> None:
    plain = make()
    other = make(**{option: ALL_ON[option]})
    means = [loss_of(each) / each.targets(LABELS, CATEGORIES).sum().item() for each in (plain, other)]
    assert abs(means[0] - means[1]) > 1e-3
