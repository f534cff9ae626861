"""Stopped training resumes as if it had not been stopped, however that happened."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import FolderDamaged, WorkerFailed
from facetry.recipe import ClassifierRecipe, dump_recipe
from facetry.runtime.files import sha256
from facetry.runtime.progress import SILENT
from facetry.runtime.workers import run_in_worker
from facetry.training import checkpoints
from tests.runtime.killing import kill_at_random
from tests.training import workloads

MakeRecipe = Callable[..., ClassifierRecipe]
TIMES = ("seconds", "photos_per_s", "waiting_share", "memory_mib")


@pytest.fixture(scope="module")
def recipe(make_recipe: MakeRecipe) -> ClassifierRecipe:
    """Three steps an epoch, each saved; with all that a step may draw or keep."""
    return make_recipe(
        training={
            "epochs": 3,
            "batch_size": 16,
            "accumulation": 2,
            "backbone_lr": 1e-3,
            "heads_lr": 1e-3,
            "ema_decay": 0.9,
            "schedule": "cosine",
            "save_every_s": 0,
        },
        augment={"mixup": 0.4, "cutmix": 0.4, "hue": 0.1},
        heads={"hidden_dim": 16, "dropout": 0.3, "standardise": True},
    )


class Lines:
    """A reporter that stores its messages, and presses Ctrl-C after some steps."""

    def __init__(self, stop_after: int = -1) -> None:
        self.said: list[str] = []
        self.left = stop_after

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> nullcontext[Callable[[int], None]]:  # noqa: ARG002
        return nullcontext(self._step if description == "Training" else lambda _: None)

    def _step(self, _: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def untimed(folder: Path, name: str) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in (folder / "training" / name).read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_same(one: Path, other: Path) -> None:
    weights, others = (load_file(each / "weights.safetensors") for each in (one, other))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    for name in ("log.jsonl", "steps.jsonl"):
        assert untimed(one, name) == untimed(other, name)
    assert not (one / "training" / checkpoints.FOLDER).exists()


def stop_after(steps: int, recipe: ClassifierRecipe, catalogue: Catalogue, out: Path) -> Path:
    """Train for some steps; returns the folder of checkpoints."""
    with pytest.raises(KeyboardInterrupt):
        train(recipe, catalogue, out, reporter=Lines(steps))
    return out.with_name(f"{out.name}.partial") / "training" / checkpoints.FOLDER


@pytest.mark.slow
def test_a_training_killed_at_random_moments_gives_equal_weights(
    recipe: ClassifierRecipe, drawn: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed" / "out"
    longer = recipe.training.model_copy(update={"epochs": 8})  # so long that the kills find it alive
    recipe = recipe.model_copy(update={"training": longer})
    work = partial(workloads.train_to_the_end, reporter=SILENT)
    assert kill_at_random(out.parent, 40, work, recipe, drawn, out) >= 5
    for folder in (out, tmp_path / "unbroken"):
        run_in_worker(workloads.train_to_the_end, recipe, drawn, folder, reporter=SILENT)
    assert_same(out, tmp_path / "unbroken")


@pytest.mark.slow
def test_sigterm_saves_after_the_step(recipe: ClassifierRecipe, drawn: Path, tmp_path: Path) -> None:
    rare = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"save_every_s": 999.0})}
    )
    out = tmp_path / "stopped"
    what, _ = run_in_worker(workloads.train_until_sigterm, rare, drawn, out, 2, reporter=SILENT)
    assert what == "stopped"
    (state,) = checkpoints.states(tmp_path / "stopped.partial" / "training" / checkpoints.FOLDER)
    assert state.name.startswith("step_00000003-")
    for folder in (out, tmp_path / "unbroken"):
        run_in_worker(workloads.train_to_the_end, rare, drawn, folder, reporter=SILENT)
    assert_same(out, tmp_path / "unbroken")


TELLS_STEPS = """\
from facetry.cli.main import main
from facetry.training import loop

log_step = loop.log_step

def log_and_tell(*arguments):
    log_step(*arguments)
    print("A step is done.", flush=True)

loop.log_step = log_and_tell
main()
"""


@pytest.mark.slow
def test_the_command_exits_cleanly_on_a_signal(
    make_recipe: MakeRecipe, drawn: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(training={"epochs": 500, "batch_size": 16})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    process = subprocess.Popen(
        [sys.executable, "-c", TELLS_STEPS, "train", "recipe.yaml", "-c", drawn, "-o", "model"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert "A step is done.\n" in process.stdout
    process.terminate()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Stopped by SIGTERM. Run the same command again to resume." in output
    assert not (tmp_path / "model").exists()
    training = tmp_path / "model.partial" / "training"
    steps = [json.loads(line) for line in (training / "steps.jsonl").read_text().splitlines()]
    newest, *_ = checkpoints.states(training / checkpoints.FOLDER)
    assert newest.name.startswith(f"step_{steps[-1]['step']:08d}-")


def test_a_stopped_training_is_not_taken_for_a_finished_one() -> None:
    with pytest.raises(WorkerFailed, match="ended with code 130"):
        run_in_worker(workloads.be_stopped, reporter=SILENT)


@pytest.fixture(scope="module")
def stopped(recipe: ClassifierRecipe, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was stopped after an epoch and two steps; not to be written to."""
    folder = tmp_path_factory.mktemp("stopped")
    stop_after(5, recipe, open_catalogue(drawn), folder / "broken")
    return folder


@pytest.fixture
def broken(stopped: Path, tmp_path: Path) -> Path:
    """The folder of checkpoints of a copy of it, `tmp_path / "broken"`."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    return tmp_path / "broken.partial" / "training" / checkpoints.FOLDER


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "half":
        content = content[: len(content) // 2]
    elif how == "zeros":
        content[-4096:] = bytes(4096)
    else:
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["half", "zeros", "flipped bit"])
def test_a_damaged_checkpoint_is_skipped(
    recipe: ClassifierRecipe, catalogue: Catalogue, broken: Path, tmp_path: Path, how: str
) -> None:
    newest, _ = checkpoints.states(broken)
    expected = checkpoints.read_checkpoint(newest)["model"]
    spoil(newest, how)
    lines = Lines(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, catalogue, tmp_path / "broken", reporter=lines)
    assert f"The checkpoint {newest.name} is damaged and is passed over." in lines.said
    assert "Going on after epoch 1 of 3, 1 step into the next." in lines.said
    again, older = checkpoints.states(broken)
    assert checkpoints.is_whole(again)
    assert checkpoints.is_whole(older)
    assert again.name.startswith("step_00000005-")
    got = checkpoints.read_checkpoint(again)["model"]
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_without_a_sound_checkpoint_resuming_is_refused(
    recipe: ClassifierRecipe, catalogue: Catalogue, broken: Path, tmp_path: Path
) -> None:
    for each in checkpoints.states(broken):
        spoil(each, "half")
    with pytest.raises(FolderDamaged, match="no checkpoint beside it is whole") as caught:
        train(recipe, catalogue, tmp_path / "broken")
    assert "Delete its folder" in caught.value.hint


def test_a_state_whose_best_weights_are_damaged_is_skipped(
    recipe: ClassifierRecipe, catalogue: Catalogue, broken: Path, tmp_path: Path
) -> None:
    (best,) = broken.glob("best_*")
    newest, older = checkpoints.states(broken)
    spoil(best, "flipped bit")
    lines = Lines(stop_after=1)
    with pytest.raises(FolderDamaged, match=newest.name):
        train(recipe, catalogue, tmp_path / "broken", reporter=lines)
    assert [older.name in line for line in lines.said].count(True) == 1


def test_old_checkpoints_are_removed_and_the_best_is_kept(broken: Path) -> None:
    kept = checkpoints.states(broken)
    assert [each.name.partition("-")[0] for each in kept] == ["step_00000005", "step_00000004"]
    for each in kept:
        best = checkpoints.read_checkpoint(each)["best_file"]
        assert checkpoints.is_whole(broken / best)
    assert len(list(broken.iterdir())) == 3, "two states and the best weights"
    before = [sha256(each) for each in kept]
    assert all(each.stem.endswith(f"-{sum_[:16]}") for each, sum_ in zip(kept, before, strict=True))


def test_epochs_that_are_saved_rarely(
    make_recipe: MakeRecipe, catalogue: Catalogue, tmp_path: Path
) -> None:
    recipe = make_recipe()  # a checkpoint every five minutes, and after epochs
    folder = stop_after(5, recipe, catalogue, tmp_path / "broken")
    (state,) = checkpoints.states(folder)
    content = checkpoints.read_checkpoint(state)
    assert (content["epoch"], content["step"]) == (1, 0)
