"""Groups by rate, and schedules that are functions of the step."""

from typing import Any

import pytest
import torch
from torch import nn

from facetry.errors import BackboneError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig, LoraConfig, TextConfig
from facetry.models.towers.blocks import freeze_blocks
from facetry.models.towers.device import compute_dtype
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.lora import add_lora
from facetry.product import Preprocess
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


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_a_text_encoder_learns_at_the_backbones_full_rate(layer_decay: float) -> None:
    backbone = BackboneConfig(name="nano_vit", weights="none")
    joining = build_classifier(
        TAXONOMY, backbone, HeadsConfig(hidden_dim=8), ImageConfig(), text=TextConfig(fusion="gate")
    )
    config = TrainingConfig(backbone_lr=1e-5, heads_lr=5e-5, layer_decay=layer_decay)
    groups = build_optimiser(joining, config).param_groups
    assert (groups[0]["lr"], groups[-1]["lr"]) == (1e-5, 5e-5)
    assert joining.text_tower is not None
    readers = {id(each) for each in joining.text_tower.parameters()}
    assert readers <= {id(each) for each in groups[0]["params"]}
    above = {"heads", "neck"}
    assert {name.partition(".")[0] for name in names_of(joining, groups[-1])} == above
    assert sum(len(group["params"]) for group in groups) == len(list(joining.parameters()))


NUM_BLOCKS = 5  # of the small ConvNeXt


def fresh(name: str = "nano_convnext") -> Classifier:
    tower = build_backbone(BackboneConfig(name=name, weights="none"), ImageConfig())
    return Classifier(tower, Heads(TAXONOMY, tower.feature_size, HeadsConfig(hidden_dim=8)))


def names_of(classifier: Classifier, group: dict[str, Any]) -> set[str]:
    own = {id(parameter) for parameter in group["params"]}
    return {name for name, each in classifier.named_parameters() if id(each) in own}


def test_lower_blocks_learn_slower_and_equal_rates_share_a_group(classifier: Classifier) -> None:
    config = TrainingConfig(backbone_lr=1e-3, heads_lr=7e-3, layer_decay=0.5)
    groups = build_optimiser(classifier, config).param_groups
    rates = [group["lr"] for group in groups]
    assert rates == pytest.approx([1e-3 * 0.5**depth for depth in range(NUM_BLOCKS + 1)] + [7e-3])
    assert {group["weight_decay"] for group in groups} == {config.weight_decay}
    top, *_, stem, heads = (names_of(classifier, group) for group in groups)
    # The last block and what follows it have no block above them.
    assert {name.removeprefix("backbone.tower.").partition(".")[0] for name in top} == {"stages", "head"}
    assert all(name.startswith("backbone.tower.stem.") for name in stem)
    assert all(name.startswith("heads.") for name in heads)
    assert sum(len(group["params"]) for group in groups) == len(list(classifier.parameters()))


def test_layer_decay_changes_how_far_weights_move() -> None:
    moves = []
    for layer_decay in (1.0, 0.5):
        torch.manual_seed(0)
        classifier = fresh()
        before = {name: each.clone() for name, each in classifier.backbone.tower.state_dict().items()}
        optimiser = build_optimiser(
            classifier, TrainingConfig(backbone_lr=1e-3, layer_decay=layer_decay, weight_decay=0)
        )
        random = torch.Generator().manual_seed(0)
        photos = torch.randint(0, 256, (2, 3, 64, 64), generator=random, dtype=torch.uint8)
        classifier.backbone(photos).square().sum().backward()
        optimiser.step()
        after = classifier.backbone.tower.state_dict()
        moves.append({name: (after[name] - before[name]).abs().max().item() for name in before})
    assert moves[1]["stem.0.weight"] == pytest.approx(
        moves[0]["stem.0.weight"] / 2**NUM_BLOCKS, rel=0.01
    )
    assert moves[1]["head.norm.weight"] == pytest.approx(moves[0]["head.norm.weight"], rel=0.01)


@pytest.mark.parametrize("layer_decay", [1.0, 0.8])
def test_frozen_parameters_are_left_out(layer_decay: float) -> None:
    classifier = fresh()
    freeze_blocks(classifier.backbone, NUM_BLOCKS)
    groups = build_optimiser(classifier, TrainingConfig(layer_decay=layer_decay)).param_groups
    tail = {"backbone.tower.head.norm.weight", "backbone.tower.head.norm.bias"}
    assert [names_of(classifier, group) for group in groups[:-1]] == [tail]


def test_a_frozen_backbone_keeps_its_group() -> None:
    classifier = fresh("nano_seresnext")
    freeze_blocks(classifier.backbone, 4)
    backbone, heads = build_optimiser(classifier, TrainingConfig()).param_groups
    assert backbone["params"] == []
    assert len(heads["params"]) == len(list(classifier.heads.parameters()))


def test_with_lora_its_matrices_and_the_heads_learn() -> None:
    classifier = fresh("nano_vit")
    add_lora(classifier.backbone, LoraConfig(rank=2))
    config = TrainingConfig(backbone_lr=1e-3, layer_decay=0.5)
    *towers, heads = build_optimiser(classifier, config).param_groups
    assert [group["lr"] for group in towers] == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])
    assert all("lora_" in name for group in towers for name in names_of(classifier, group))
    assert len(heads["params"]) == len(list(classifier.heads.parameters()))


def test_layer_decay_of_a_tower_without_blocks_is_an_error() -> None:
    tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
    backbone = Backbone(tower, Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)), 4)
    classifier = Classifier(backbone, Heads(TAXONOMY, 4, HeadsConfig(hidden_dim=8)))
    assert len(build_optimiser(classifier, TrainingConfig()).param_groups) == 2
    with pytest.raises(BackboneError, match="Sequential"):
        build_optimiser(classifier, TrainingConfig(layer_decay=0.9))


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


def test_the_cosine_falls_to_zero() -> None:
    config = TrainingConfig(schedule="cosine", epochs=5, milestones=(1,))
    factors = [rate_factor(config, step, steps_per_epoch=20) for step in range(101)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001
    assert factors[100] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)


def test_the_cosine_begins_where_warmup_ends() -> None:
    config = TrainingConfig(schedule="cosine", epochs=4, warmup_epochs=1)
    factors = [rate_factor(config, step, steps_per_epoch=10) for step in range(41)]
    assert factors[:11] == pytest.approx([each / 10 for each in range(1, 11)] + [1])
    assert factors[25] == pytest.approx(0.5)
    assert factors[40] == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_warmup_may_be_longer_than_training(schedule: str) -> None:
    config = TrainingConfig(schedule=schedule, epochs=2, warmup_epochs=4, milestones=())
    factors = [rate_factor(config, step, steps_per_epoch=5) for step in range(10)]
    assert factors == pytest.approx([each / 20 for each in range(1, 11)])


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
