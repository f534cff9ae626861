"""Several processes train what one would have trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.recipe import ClassifierRecipe, dump_recipe
from facetry.training.distributed.processes import (
    SINGLE_PROCESS,
    Processes,
    current_processes,
    process_group,
    world_size,
)
from tests.training.distributed.together import command, launch

MakeRecipe = Callable[..., ClassifierRecipe]


@pytest.mark.parametrize("num", [1, 2, 3, 5])
@pytest.mark.parametrize("num_rows", [1, 4, 8])
def test_shares_are_equal_and_cover_all_rows_once(num: int, num_rows: int) -> None:
    rows = np.arange(100, 100 + num_rows)
    shares = [Processes(rank, num).shard(rows) for rank in range(num)]
    assert len({len(share) for share, _ in shares}) == 1
    own = np.concatenate([share[:num_own] for share, num_own in shares])
    assert sorted(own) == sorted(rows)
    assert all(row in rows for share, _ in shares for row in share)


def test_a_single_process_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.ones(3)
    assert SINGLE_PROCESS.is_main
    assert SINGLE_PROCESS.all_reduce(tensor) is tensor
    assert SINGLE_PROCESS.all_reduce_any(True, False) == [True, False]
    SINGLE_PROCESS.broadcast("nothing")
    with process_group() as processes:
        assert processes is current_processes() is SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert world_size() == 1, "a launcher tells each process its own number too"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert world_size() == 4


SETTINGS: dict[str, Any] = {
    "training": {
        "epochs": 2,
        "batch_size": 15,  # an odd number: the second process has one product less
        "accumulation": 2,
        "backbone_lr": 1e-3,
        "heads_lr": 1e-3,
        "ema_decay": 0.5,
        "weight_decay": 0.1,
    },
    "heads": {"hidden_dim": 16, "dropout": 0.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--shard",)])
def test_two_processes_train_the_same_model_as_one(
    catalogue: Catalogue, drawn: Path, make_recipe: MakeRecipe, tmp_path: Path, options: tuple[str, ...]
) -> None:
    recipe = make_recipe(**SETTINGS)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    out = tmp_path / "together"
    given = ("train", tmp_path / "recipe.yaml", "-c", drawn, "-o", out, *options)
    main, other = launch(2, command, *given)
    assert f"Model folder: {out}" in main.replace("\n", "")
    assert not other
    alone = train(recipe, catalogue, tmp_path / "alone")
    assert_same_weights(alone, out)
    steps, others = (read_steps(each) for each in (alone, out))
    assert len(steps) == len(others)
    for one, two in zip(steps, others, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
        assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-5)


def assert_same_weights(one: Path, other: Path) -> None:
    """But for the order of sums, which shows in the last digits.

    AdamW divides by a gradient's size: where that is itself a rounding error, so is the step's sign.
    """
    expected, got = (load_file(each / "weights.safetensors") for each in (one, other))
    assert expected.keys() == got.keys()
    before, after = (
        torch.cat([each[name].flatten().double() for name in expected]) for each in (expected, got)
    )
    assert (after - before).norm() < 2e-6 * before.norm()
    assert (after - before).abs().max() < 1e-4 * before.abs().max()


def read_steps(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "training" / "steps.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
