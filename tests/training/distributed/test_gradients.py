"""Processes that train together do what one does, whatever happens to one of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facetry.errors import SettingError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.heads import Heads
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig, LoraConfig
from facetry.models.towers.blocks import checkpoint_blocks
from facetry.models.towers.image import build_backbone
from facetry.models.towers.lora import add_lora
from facetry.training.data import FeatureInputs
from facetry.training.distributed.gradients import add_up_gradients, average_statistics
from facetry.training.distributed.processes import SINGLE_PROCESS, Processes, process_group
from facetry.training.loop import fit
from facetry.training.run import Run, start
from facetry.training.state import TrainingState
from tests.training.distributed.together import launch, meeting
from tests.training.test_loop import NUM_PRODUCTS, TAXONOMY, Said, fitted, make_model, make_run, weights

SIDE_PX = 32
CASES: dict[str, dict[str, Any]] = {
    "plain": {"ema_decay": 0.5, "clip_norm": 0.5, "accumulation": 2, "weight_decay": 0.1},
    "lora": {"lora": LoraConfig(rank=2)},
    "checkpointing": {"checkpointing": True, "frozen_blocks": 1},
    "adversarial": {"adversarial": 0.02, "layer_decay": 0.5},
}


def with_short_memory() -> tuple[list[float], list[str]]:
    """Train where the second process's tower takes one photo less than the first's share."""
    with meeting() as processes:
        said = Said()
        run = replace(make_run(), processes=processes, reporter=said)
        state = fitted(run, make_model(1000 if processes.is_main else 3))
        return weights(state).tolist(), said.lines


@pytest.mark.slow
def test_running_out_of_memory_in_one_process_changes_nothing() -> None:
    (main, said), (other, also_said) = launch(2, with_short_memory)
    assert main == other
    assert said == also_said
    assert said == ["Out of memory with 4 products at once: a step has 2 parts from now."]
    expected = weights(fitted(make_run()))
    torch.testing.assert_close(torch.tensor(main), expected, rtol=1e-4, atol=1e-5)


def exchange_by_hand() -> dict[str, Any]:
    """What becomes of gradients and counts that are there in some processes only."""
    with meeting() as processes:
        rank = processes.rank
        model = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("both", "one", "none")})
        model["norm"] = nn.BatchNorm1d(2)
        for name in ("both", "one")[: 2 - rank]:
            model[name].weight.grad = torch.tensor([[rank + 1.0]])
        model["norm"].running_mean.fill_(rank)
        add_up_gradients(processes, model)
        average_statistics(processes, model)
        found = {name: model[name].weight.grad for name in ("both", "one", "none")}
        found["norm"] = model["norm"].running_mean[:1, None]
        return {name: None if each is None else each.item() for name, each in found.items()}


@pytest.mark.slow
def test_gradients_that_only_some_processes_have_are_exchanged() -> None:
    for found in launch(2, exchange_by_hand):
        assert found == {"both": 3.0, "one": 1.0, "none": None, "norm": 0.5}


def make_vit(options: dict[str, Any]) -> Classifier:
    torch.manual_seed(0)
    config = BackboneConfig(name="nano_vit", weights="none")
    backbone = build_backbone(config, ImageConfig(size_px=SIDE_PX))
    if lora := options.get("lora"):
        add_lora(backbone, lora)
    if options.get("checkpointing"):
        checkpoint_blocks(backbone)
    config_of_heads = HeadsConfig(hidden_dim=4, dropout=0.0)  # what it draws follows from the process
    return Classifier(backbone, Heads(TAXONOMY, backbone.feature_size, config_of_heads))


def make_vit_run(processes: Processes, options: dict[str, Any], folder: Path | None = None) -> Run:
    draw = np.random.RandomState(1)
    photos = draw.randint(0, 256, (NUM_PRODUCTS, 3, SIDE_PX, SIDE_PX)).astype(np.uint8)
    run = make_run(**{"backbone_lr": 1e-3, "heads_lr": 1e-3, "save_every_s": 0.0, **options})
    inputs = FeatureInputs(torch.from_numpy(photos))
    return replace(run, inputs=inputs, processes=processes, folder=folder)


def trained(
    processes: Processes, options: dict[str, Any], folder: Path | None = None, stop_after: int = -1
) -> TrainingState:
    """Train a ViT, going on from the checkpoint in `folder`, for some steps."""
    run = make_vit_run(processes, options, folder)
    state = start(run, make_vit(options))
    if folder:
        state.restore(folder)

    def stop(_: int) -> None:
        if state.num_steps == stop_after:
            raise KeyboardInterrupt

    try:
        fit(run, state, stop)
    except KeyboardInterrupt:
        assert state.num_steps == stop_after
    return state


def shard_all(folder: Path) -> None:
    """Write the last weights of each case, and of one that is stopped and goes on."""
    found = {}
    with meeting(is_sharded=True) as processes:
        for name, options in CASES.items():
            state = trained(processes, options)
            own = sum(each.to_local().numel() for each in state.model.backbone.parameters())
            every = sum(each.numel() for each in state.model.backbone.parameters())
            assert own < 0.6 * every
            found[name] = state.best_weights
        trained(processes, CASES["plain"], folder, stop_after=2)
        trained(processes, CASES["plain"], folder / "own", stop_after=4)
        found["gone on"] = trained(processes, CASES["plain"], folder / "own").best_weights
        found["taken over"] = trained(processes, CASES["plain"], folder / "alone").best_weights
        if processes.is_main:
            torch.save(found, folder / "found.pt")


@pytest.mark.slow
def test_spread_weights_are_trained_as_whole_ones(tmp_path: Path) -> None:
    trained(SINGLE_PROCESS, CASES["plain"], tmp_path / "alone", stop_after=2)
    launch(2, shard_all, tmp_path)
    found = torch.load(tmp_path / "found.pt")
    for name, options in CASES.items():
        assert_close(found[name], trained(SINGLE_PROCESS, options).best_weights, name)
    assert all(torch.equal(each, found["plain"][name]) for name, each in found["gone on"].items())
    assert_close(found["taken over"], found["plain"], "gone on by several processes")
    alone = trained(SINGLE_PROCESS, CASES["plain"], tmp_path)
    assert alone.num_steps == 6
    assert_close(alone.best_weights, found["plain"], "gone on by one process")


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], what: str) -> None:
    """But for the order of sums; the gradient of keys' biases is rounding errors alone."""
    assert found.keys() == expected.keys()
    for name, each in expected.items():
        if not name.endswith("in_proj_bias"):
            assert (found[name] - each).abs().max() < 1e-4, (what, name)


def shard_half_precision() -> str:
    with meeting(is_sharded=True) as processes:
        with pytest.raises(SettingError) as caught:
            start(make_vit_run(processes, {"precision": "fp16"}), make_vit({}))
        return caught.value.message


@pytest.mark.slow
def test_fp16_is_refused_with_spread_weights() -> None:
    (message,) = set(launch(2, shard_half_precision))
    assert "cannot be trained in fp16" in message


@pytest.mark.parametrize("is_launcher", [False, True])
def test_weights_are_not_spread_over_one_process(
    is_launcher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_launcher:
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingError, match="only this one"), process_group(is_sharded=not is_launcher):
        pass
