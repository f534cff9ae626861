"""What a real training logs, and that tracking it changes nothing."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facetry.build.train import BuildOptions, train
from facetry.catalogue.catalogue import Catalogue
from facetry.recipe import ClassifierRecipe
from facetry.runtime.files import sha256
from facetry.runtime.progress import Silent
from facetry.training.tracking import MEASURED, RUN_ID

MakeRecipe = Callable[..., ClassifierRecipe]


class StopAt(Silent):
    """A reporter that presses Ctrl-C after so many steps."""

    def __init__(self, num_steps: int) -> None:
        self.left = num_steps

    def bar(self, description: str, total: int | None) -> Any:  # noqa: ARG002
        self.is_training = description == "Training"
        return self

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, _: int) -> None:
        self.left -= self.is_training
        if self.left == 0:
            raise KeyboardInterrupt


def logged(model: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of a model folder's log without what is of one run."""
    folder = model / "training"
    content = {
        name: [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("log.jsonl", "steps.jsonl")
    }
    for name in ("log.csv", "heads.csv"):
        with (folder / name).open(newline="") as file:
            content[name] = list(csv.DictReader(file))
    return {
        name: [{key: row[key] for key in row if key not in MEASURED} for row in rows]
        for name, rows in content.items()
    }


def test_a_training_logs_its_steps_epochs_and_heads(tiny_model: Path, catalogue: Catalogue) -> None:
    log = logged(tiny_model)
    epochs, steps, heads = log["log.jsonl"], log["steps.jsonl"], log["heads.csv"]
    per_epoch = len(steps) // 3
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert [row["epoch"] for row in steps] == [epoch for epoch in (1, 2, 3) for _ in range(per_epoch)]
    assert [row["step"] for row in epochs] == [per_epoch, 2 * per_epoch, 3 * per_epoch]
    names = {(row["category"], row["attribute"]) for row in heads}
    assert names <= {(head.category, head.attribute) for head in catalogue.taxonomy.heads}
    assert len(heads) == 3 * len(names) > 3 * 35  # some heads have no label in so small a catalogue
    assert all(0 <= float(row["score"]) <= 1 for row in heads if row["score"])
    assert all(row["gradient_norm"] > 0 and row["heads_lr"] == 1e-3 for row in steps)
    assert all(row["loss_by_head"] for row in steps)
    for line in (tiny_model / "training" / "steps.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert row["photos_per_s"] > 0
        assert 0 <= row["waiting_share"] <= 1
        assert row["memory_mib"] > 0


@pytest.mark.parametrize(("save_every_s", "is_frozen"), [(0.0, False), (300.0, True)])
def test_an_interrupted_training_logs_the_same_as_an_unbroken_one(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path, save_every_s: float, is_frozen: bool
) -> None:
    training = {
        "epochs": 2,
        "batch_size": 16,
        "backbone_lr": 1e-3,
        "heads_lr": 1e-3,
        "save_every_s": save_every_s,
    }
    backbone = {"name": "nano_convnext", "weights": "none", "frozen": is_frozen}
    recipe = make_recipe(backbone=backbone, training=training)
    unbroken = train(recipe, catalogue, tmp_path / "unbroken")
    num_steps = len(logged(unbroken)["steps.jsonl"])
    for stop in (2, num_steps // 2 + 1):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, catalogue, tmp_path / "broken", reporter=StopAt(stop))
    broken = train(recipe, catalogue, tmp_path / "broken")
    assert logged(broken) == logged(unbroken)


def test_tracking_changes_nothing(
    catalogue: Catalogue,
    tiny_model: Path,
    tiny_recipe: ClassifierRecipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = BuildOptions(services=("wandb",))
    model = train(tiny_recipe, catalogue, tmp_path / "tracked", options=options)
    wandb.teardown()
    assert sha256(model / "weights.safetensors") == sha256(tiny_model / "weights.safetensors")
    assert sha256(model / "recipe.yaml") == sha256(tiny_model / "recipe.yaml")
    assert logged(model) == logged(tiny_model)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    assert not (model / "training" / RUN_ID).exists()
