"""Two groups, one schedule."""

import pytest
import torch
from torch import nn

from facetry.models.backbones import build_backbone
from facetry.models.classifier import Classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.models.device import compute_dtype
from facetry.models.heads import Heads
from facetry.taxonomy import Taxonomy
from facetry.training.config import TrainingConfig
from facetry.training.optimiser import build_optimiser, rate_factor, set_rates

TAXONOMY = Taxonomy.of({"Sarees": {"border": ["zari", "solid"]}})


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tower = build_backbone(BackboneConfig(name="nano_convnext", weights="none"), ImageConfig())
    return Classifier(tower, Heads(TAXONOMY, tower.feature_size, HeadsConfig(hidden_dim=8)))


def test_both_groups_have_decay_betas_and_their_own_rate(classifier: Classifier) -> None:
    config = TrainingConfig(backbone_lr=1e-5, heads_lr=5e-5, weight_decay=0.02, beta1=0.8, beta2=0.9)
    backbone, heads = build_optimiser(classifier, config).param_groups
    assert (backbone["lr"], heads["lr"]) == (1e-5, 5e-5)
    for group in (backbone, heads):
        assert group["weight_decay"] == 0.02
        assert group["betas"] == (0.8, 0.9)
    every = [parameter for group in (backbone, heads) for parameter in group["params"]]
    assert set(map(id, every)) == set(map(id, classifier.parameters()))
    assert len(every) == len(list(classifier.parameters()))


def test_heads_alone_are_one_group(classifier: Classifier) -> None:
    (group,) = build_optimiser(classifier.heads, TrainingConfig(heads_lr=3e-4)).param_groups
    assert group["lr"] == 3e-4


@pytest.mark.parametrize("milestones", [(4, 6, 10), (1,), (2, 2), ()])
@pytest.mark.parametrize("steps_per_epoch", [1, 3])
def test_schedule_is_multistep_by_epoch(milestones: tuple[int, ...], steps_per_epoch: int) -> None:
    config = TrainingConfig(milestones=milestones, gamma=0.1)
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(reference, list(milestones), 0.1)
    for epoch in range(12):
        for step in range(steps_per_epoch):
            factor = rate_factor(config, epoch * steps_per_epoch + step, steps_per_epoch)
            assert factor == pytest.approx(schedule.get_last_lr()[0])
        reference.step()
        schedule.step()


def test_warmup_rises_to_the_full_rate() -> None:
    config = TrainingConfig(warmup_epochs=0.5, milestones=())
    factors = [rate_factor(config, step, steps_per_epoch=8) for step in range(6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_rates_scale_from_where_they_began(classifier: Classifier) -> None:
    optimiser = build_optimiser(classifier, TrainingConfig())
    for factor in (0.5, 0.1):
        set_rates(optimiser, factor)
        assert [group["lr"] for group in optimiser.param_groups] == [1e-5 * factor, 5e-5 * factor]


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("auto", torch.float32),
        ("fp32", torch.float32),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
    ],
)
def test_precision_on_the_cpu(precision: str, dtype: torch.dtype) -> None:
    assert compute_dtype(precision, torch.device("cpu")) == dtype
