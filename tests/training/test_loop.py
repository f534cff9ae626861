"""A step of the optimiser: the same in parts, with less memory, and what options add to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facetry.errors import NonFiniteLoss, OutOfMemory
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.config import HeadsConfig
from facetry.models.towers.image import Backbone
from facetry.product import Preprocess
from facetry.taxonomy import Taxonomy
from facetry.training.config import LossConfig, TrainingConfig
from facetry.training.data import Batch, Examples, FeatureInputs
from facetry.training.loop import compute_gradients, fit, take_step
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from facetry.training.step_statistics import StepStatistics
from facetry.training.stored_features import FeatureSet, fit_heads
from facetry.training.targets.loss import Criterion
from facetry.training.tracking.records import EpochRecord, StepRecord

TAXONOMY = Taxonomy.of({"Kurtis": {"length": ["long", "short"], "colour": ["red", "blue", "green"]},
                        "Sarees": {"border": ["big", "none", "small"]}})  # fmt: skip
NUM_PRODUCTS, NUM_FEATURES, SIDE_PX = 22, 6, 8
CONFIG = TrainingConfig(epochs=2, batch_size=8, heads_lr=1e-2, backbone_lr=1e-2, clip_norm=0.0)


class Said:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def bar(self, description: str, total: int | None) -> object:
        raise NotImplementedError


class Recorder:
    """A tracker that stores its records."""

    def __init__(self) -> None:
        self.steps: list[StepRecord] = []
        self.epochs: list[EpochRecord] = []

    def log_step(self, record: StepRecord) -> None:
        self.steps.append(record)

    def log_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)

    def finish(self) -> None:
        pass


class SmallTower(nn.Module):
    """A tower that holds no more than `most` photos at once."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * SIDE_PX**2, NUM_FEATURES)
        self.most = most

    def forward(self, photos: Tensor) -> Tensor:
        if len(photos) > self.most:
            raise torch.OutOfMemoryError
        result: Tensor = self.layer(photos.flatten(1))
        return result


def make_examples() -> Examples:
    random = np.random.RandomState(0)
    categories = torch.from_numpy(random.randint(0, 2, NUM_PRODUCTS))
    labels = torch.from_numpy(random.randint(-1, 2, (NUM_PRODUCTS, 2)))
    labels[categories == 1, 1] = -1
    rows = np.arange(NUM_PRODUCTS)
    return Examples(
        ids=[f"p{row}" for row in rows],
        categories=categories,
        labels=labels,
        train=rows[:19],
        validation=rows[19:],
    )


def make_run(**changes: object) -> Run:
    config = CONFIG.model_copy(update=changes)
    examples = make_examples()
    photos = torch.from_numpy(
        np.random.RandomState(1).randint(0, 256, (NUM_PRODUCTS, 3, SIDE_PX, SIDE_PX)).astype(np.uint8)
    )
    return Run(
        taxonomy=TAXONOMY,
        config=config,
        seed=0,
        examples=examples,
        inputs=FeatureInputs(photos),
        criterion=Criterion.of(config.loss, TAXONOMY, examples.labels, examples.categories),
        device=torch.device("cpu"),
    )


def make_model(most: int = 1000) -> Classifier:
    torch.manual_seed(0)
    preprocess = Preprocess(size_px=SIDE_PX, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    backbone = Backbone(SmallTower(most), preprocess, NUM_FEATURES)
    return Classifier(backbone, Heads(TAXONOMY, NUM_FEATURES, HeadsConfig(hidden_dim=4, dropout=0.0)))


def fitted(run: Run, model: nn.Module | None = None) -> TrainingState:
    state = start(run, model or make_model())
    fit(run, state, lambda _: None)
    return state


def assert_close(one: nn.Module, other: nn.Module) -> None:
    others = other.state_dict()
    for name, each in one.state_dict().items():
        torch.testing.assert_close(each, others[name], rtol=1e-4, atol=1e-5)


def learn(run: Run, state: TrainingState, batch: Batch) -> StepStatistics:
    return take_step(run, state, batch, compute_gradients(run, state, batch))


def weights(state: TrainingState) -> Tensor:
    return nn.utils.parameters_to_vector(state.model.parameters())


@pytest.mark.parametrize("accumulation", [2, 3, 8, 20])
def test_parts_make_the_same_step(accumulation: int) -> None:
    whole, parts = fitted(make_run()), fitted(make_run(accumulation=accumulation))
    assert whole.num_steps == parts.num_steps == 6, "the last batch of an epoch is a partial one"
    assert_close(whole.model, parts.model)


@pytest.mark.parametrize("most", [1, 3, 5])
def test_running_out_of_memory_changes_nothing(most: int) -> None:
    said = Said()
    whole = fitted(make_run())
    small = fitted(replace(make_run(), reporter=said), make_model(most))
    assert_close(whole.model, small.model)
    sizes = [size for size in (8, 4, 2, 1) if size > most]
    assert said.lines == [
        f"Out of memory with {size} products at once: a step has {2 * 8 // size} parts from now."
        for size in sizes
    ]


def test_memory_for_not_even_one_product() -> None:
    run = replace(make_run(), reporter=Said())
    with pytest.raises(OutOfMemory, match="a single product") as caught:
        fitted(run, make_model(0))
    assert "image.size_px" in caught.value.hint


def make_batch(run: Run, rows: list[int]) -> Batch:
    index = torch.tensor(rows)
    categories = run.examples.categories[index]
    (inputs,) = run.inputs.batches([np.array(rows)])
    targets = run.criterion.targets(run.examples.labels[index], categories)
    return Batch(rows=np.array(rows), inputs=inputs, targets=targets, categories=categories)


def test_a_batch_without_labels_has_no_gradient() -> None:
    run = make_run()
    state = start(run, make_model())
    batch = make_batch(run, [0, 1, 2])
    statistics = learn(run, state, replace(batch, targets=torch.zeros_like(batch.targets)))
    assert (statistics.loss, statistics.gradient_norm) == (0.0, 0.0)
    gradients = [each.grad for each in state.model.parameters() if each.grad is not None]
    assert gradients
    assert not any(each.any() for each in gradients)


def test_heads_without_labels_in_a_batch_are_unchanged() -> None:
    run = make_run()
    rows = np.flatnonzero(run.examples.categories.numpy() == 0)[:4].tolist()
    model = make_model()
    before = {name: each.clone() for name, each in model.heads.categories[1].state_dict().items()}
    learn(run, start(run, model), make_batch(run, rows))
    after = model.heads.categories[1].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("poisoned", "what"), [("weight", "loss is nan"), ("gradient", "gradient is nan")]
)
def test_an_infinite_loss_stops_training_and_names_the_products(poisoned: str, what: str) -> None:
    run = make_run()
    model = make_model()
    if poisoned == "weight":
        with torch.no_grad():
            model.backbone.tower.layer.weight.fill_(torch.nan)
    else:
        model.backbone.tower.layer.weight.register_hook(lambda each: each * torch.nan)
    with pytest.raises(NonFiniteLoss, match=rf"The {what} at epoch 1, step 1 \(products p3, p0, p5\)"):
        learn(run, start(run, model), make_batch(run, [3, 0, 5]))


def test_loss_scaling_skips_a_step_that_overflows() -> None:
    run = make_run()
    model = make_model()
    state = start(run, model)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    before = weights(state).clone()
    statistics = learn(run, state, make_batch(run, [0, 1, 2]))
    assert torch.equal(weights(state), before)
    assert np.isnan(statistics.gradient_norm)
    assert state.scaler.get_scale() == 2.0**126


def test_adversarial_photos_change_what_is_learned() -> None:
    plain, adversarial = fitted(make_run()), fitted(make_run(adversarial=0.02))
    assert not torch.equal(weights(plain), weights(adversarial))
    halves = fitted(make_run(adversarial=0.02, accumulation=2))
    assert_close(adversarial.model, halves.model)


def test_dropout_follows_from_the_step_alone() -> None:
    """Whatever was drawn before, and by whom, the weights end up the same."""
    ends = []
    for num_drawn in (0, 7):
        torch.manual_seed(0)
        heads = Heads(TAXONOMY, NUM_FEATURES, HeadsConfig(hidden_dim=8, dropout=0.5))
        torch.rand(num_drawn)
        features = torch.randn(NUM_PRODUCTS, NUM_FEATURES, generator=torch.Generator().manual_seed(1))
        given = FeatureSet(taxonomy=TAXONOMY, features=features, examples=make_examples())
        fitted_heads = fit_heads(given, heads, CONFIG, seed=4)
        assert fitted_heads.heads is heads
        assert not heads.training
        ends.append(nn.utils.parameters_to_vector(heads.parameters()))
    assert torch.equal(*ends)


def test_a_tracker_gets_steps_and_epochs() -> None:
    recorder = Recorder()
    fitted(replace(make_run(loss=LossConfig()), tracker=recorder))
    assert [record.step for record in recorder.steps] == [1, 2, 3, 4, 5, 6]
    assert [(record.epoch, record.step) for record in recorder.epochs] == [(1, 3), (2, 6)]
    first, epoch = recorder.steps[0], recorder.epochs[0]
    assert first.learning_rates == {"backbone": 1e-2, "heads": 1e-2}
    assert 0 <= first.waiting_share < 1
    assert first.photos_per_s > 0
    assert first.memory_mib > 10
    assert {head.attribute for head in epoch.loss_by_head} == {"length", "colour", "border"}
    assert 0 <= epoch.score <= 1
    assert set(epoch.score_by_head.values()) <= {
        score for score in epoch.score_by_head.values() if score >= 0
    }
    assert (
        min(each.loss for each in recorder.steps[:3])
        <= epoch.loss
        <= max(each.loss for each in recorder.steps[:3])
    )
