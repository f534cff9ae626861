"""Training learns, is deterministic, resumes where it stopped, and fails without losing work."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facetry.build.load import load, load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split
from facetry.errors import NonFiniteLoss, NotEnoughData
from facetry.evaluation.metrics import predict
from facetry.models.classifier.classifier import Classifier
from facetry.recipe import ClassifierRecipe
from facetry.runtime.files import sha256
from facetry.training import checkpoints, loop
from facetry.training.data import epoch_order, in_batches, line_up, useful_rows

MakeRecipe = Callable[..., ClassifierRecipe]
WEIGHTS = "weights.safetensors"
FROZEN = {"name": "nano_convnext", "weights": "none", "frozen": True}
SCHEDULE = {"batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3}


class StopAfter:
    """A reporter that presses Ctrl-C after some products of training."""

    def __init__(self, num_products: int) -> None:
        self.left = num_products

    def say(self, text: str) -> None:
        pass

    def bar(self, description: str, total: int | None) -> "StopAfter":  # noqa: ARG002
        self.is_training = description == "Training"
        return self

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, count: int) -> None:
        self.left -= count if self.is_training else 0
        if self.left < 0:
            raise KeyboardInterrupt


def test_the_loss_falls(tiny_model: Path) -> None:
    log = [json.loads(line) for line in (tiny_model / "training" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log]
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(("is_frozen", "is_shared"), [(False, False), (True, True)])
def test_it_fits_what_it_sees(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path, is_frozen: bool, is_shared: bool
) -> None:
    """Few products, learned by heart."""
    recipe = make_recipe(
        backbone={"name": "nano_convnext", "weights": "none", "frozen": is_frozen},
        image={"size_px": 32},
        training={**SCHEDULE, "heads_lr": 1e-2, "epochs": 25, "milestones": []},
        augment={"flip": 0},
        heads={"hidden_dim": 32, "dropout": 0.0, "shared": is_shared},
    )
    codes = np.full(len(catalogue), -1, dtype=np.int8)
    codes[:24] = 0
    out = train(recipe, catalogue, tmp_path / "model", split=Split(codes))
    last = json.loads((out / "training" / "log.jsonl").read_text().splitlines()[-1])
    assert last["loss"] < 0.2
    top = predict(load(out), catalogue.products(range(24))).top
    labels = catalogue.labels[:24]
    known = labels >= 0
    assert (top == labels)[known].mean() > 0.9


def test_the_same_recipe_gives_the_same_files(
    catalogue: Catalogue, tiny_model: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    again = train(tiny_recipe, catalogue, tmp_path / "again")
    names = [path.relative_to(tiny_model) for path in tiny_model.rglob("*") if path.is_file()]
    logs = {Path("training") / name for name in ("log.csv", "log.jsonl", "steps.jsonl")}
    timed = {*logs, Path("checksums.json")}
    for name in set(names) - timed:
        assert sha256(again / name) == sha256(tiny_model / name), name


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "frozen"])
def unbroken(
    request: pytest.FixtureRequest,
    drawn: Path,
    make_recipe: MakeRecipe,
    tiny_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ClassifierRecipe, Path]:
    """A recipe, and the weights of a training without interruption."""
    if not request.param:
        return make_recipe(), tiny_model
    recipe = make_recipe(backbone=FROZEN)
    return recipe, train(recipe, open_catalogue(drawn), tmp_path_factory.mktemp("unbroken") / "model")


def test_another_seed_gives_another_model(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(backbone=FROZEN, training={**SCHEDULE, "epochs": 1})
    one, other = (train(recipe.with_seed(seed), catalogue, tmp_path / str(seed)) for seed in (0, 1))
    assert sha256(one / WEIGHTS) != sha256(other / WEIGHTS)


def test_an_interrupted_training_gives_equal_weights(
    catalogue: Catalogue, unbroken: tuple[ClassifierRecipe, Path], tmp_path: Path
) -> None:
    """Before anything is kept, within the first epoch, and within the second."""
    recipe, whole = unbroken
    for num_products in (10, 60, 30):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, catalogue, tmp_path / "broken", reporter=StopAfter(num_products))
        assert not (tmp_path / "broken").exists()
    broken = train(recipe, catalogue, tmp_path / "broken")
    expected, got = load_file(whole / WEIGHTS), load_file(broken / WEIGHTS)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert not (broken / "training" / checkpoints.FOLDER).exists()
    assert not (tmp_path / "broken.partial").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    good = make_recipe(training={**SCHEDULE, "epochs": 3})
    with pytest.raises(KeyboardInterrupt):
        train(good, catalogue, tmp_path / "model", reporter=StopAfter(80))
    folder = tmp_path / "model.partial" / "training" / checkpoints.FOLDER
    newest, *_ = checkpoints.states(folder)
    content = checkpoints.read_checkpoint(newest)
    content["model"]["backbone.tower.head.norm.weight"].fill_(torch.nan)
    newest.unlink()
    spoilt = folder / checkpoints.write_checkpoint(folder, "step", content["num_steps"], content)
    with pytest.raises(NonFiniteLoss, match=r"loss is nan at epoch \d, step 1 \(products \d"):
        train(good, catalogue, tmp_path / "model")
    assert checkpoints.states(folder)[0] == spoilt
    assert checkpoints.is_whole(spoilt)


def test_nothing_to_train_on(drawn: Path, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    without_photos = open_catalogue(drawn, images=tmp_path)
    with pytest.raises(NotEnoughData, match="file not found"):
        train(make_recipe(), without_photos, tmp_path / "model")


def test_best_weights_are_kept(catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(backbone=FROZEN, training={**SCHEDULE, "epochs": 6, "milestones": []})
    out = train(recipe, catalogue, tmp_path / "model")
    log = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["validation"]["total"] == pytest.approx(max(row["score"] for row in log), abs=0.02)


def test_a_frozen_backbone_is_unchanged(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    def tower(epochs: int) -> dict[str, torch.Tensor]:
        recipe = make_recipe(backbone=FROZEN, training={**SCHEDULE, "epochs": epochs})
        model = load_plain(train(recipe, catalogue, tmp_path / str(epochs)))
        assert isinstance(model, Classifier)
        return model.backbone.state_dict()

    short, long = tower(1), tower(3)
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_only_readable_and_labelled_products_are_examples(catalogue: Catalogue) -> None:
    codes = np.zeros(len(catalogue), dtype=np.int8)
    codes[::3] = 1
    split = Split(codes)
    rows = useful_rows(catalogue, split)
    problems = ["" if row % 5 else "file not found" for row in rows]
    examples = line_up(catalogue, split, rows, problems)
    used = np.concatenate([examples.train, examples.validation])
    assert set(rows[used]) == {row for row in rows if row % 5}
    assert (examples.labels[torch.from_numpy(used)] >= 0).any(dim=1).all()
    by_id = dict(zip(catalogue.table["id"], codes, strict=True))
    assert {by_id[examples.ids[row]] for row in examples.train} == {0}
    assert {by_id[examples.ids[row]] for row in examples.validation} == {1}


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    rows = np.arange(100)
    first, second = (epoch_order(rows, seed=3, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(rows)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order(rows, seed=3, epoch=0))
    assert not np.array_equal(first, epoch_order(rows, seed=4, epoch=0))


def test_the_last_batch_may_be_smaller() -> None:
    assert [len(batch) for batch in in_batches(np.arange(10), 4)] == [4, 4, 2]


def test_mixed_precision_trains(catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """With few steps: a processor without instructions for bf16 takes fifty times as long."""
    recipe = make_recipe(
        image={"size_px": 32}, training={**SCHEDULE, "heads_lr": 1e-2, "epochs": 2, "precision": "bf16"}
    )
    codes = np.where(np.arange(len(catalogue)) < 32, 0, -1).astype(np.int8)
    out = train(recipe, catalogue, tmp_path / "model", split=Split(codes))
    log = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    assert log[1]["loss"] < log[0]["loss"]


def test_the_loop_fits_on_a_screen() -> None:
    import inspect

    assert len(inspect.getsource(loop.fit).splitlines()) <= 60
