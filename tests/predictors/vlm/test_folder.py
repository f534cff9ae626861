"""Checkpoints and model folders that are not what they should be."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import BackboneError, MissingExtra, ModelFolderError, WeightsUnavailable
from facetry.models.folder import write_checksums
from facetry.predictors.vlm.config import VlmConfig
from facetry.predictors.vlm.predictor import VlmPredictor
from facetry.predictors.vlm.qwen import Qwen, open_qwen
from tests.predictors.vlm.conftest import TAXONOMY, make_recipe


@pytest.fixture
def local(qwen: Qwen, tmp_path: Path) -> Path:
    """A checkpoint in a folder."""
    folder = tmp_path / "qwen"
    qwen.network.save_pretrained(folder)
    qwen.processor.save_pretrained(folder)
    return folder


def test_a_local_checkpoint_stays_where_it_is(local: Path, twenty: Catalogue, tmp_path: Path) -> None:
    recipe = make_recipe(vlm={"model": str(local)}, training={"rank": 2, "batch_size": 20})
    folder = train(recipe, twenty, tmp_path / "out")
    assert not (folder / "base").exists()
    predictor = load(folder)
    assert isinstance(predictor, VlmPredictor)
    record = json.loads((folder / "vlm.json").read_text())
    assert record["version"] == predictor.qwen.version
    assert record["config"]["model"] == str(local)

    config = json.loads((local / "config.json").read_text())
    (local / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False, "x": 1}))
    with pytest.raises(ModelFolderError, match="another version"):
        load(folder)
    shutil.rmtree(local)
    with pytest.raises(ModelFolderError, match="not on this machine") as caught:
        load(folder)
    assert caught.value.hint


def test_no_checkpoint_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match=r"no config\.json"):
        open_qwen(VlmConfig(model=str(tmp_path)), TAXONOMY, 0)


def test_a_name_that_cannot_be_fetched() -> None:
    with pytest.raises(WeightsUnavailable, match="cannot be loaded") as caught:
        open_qwen(VlmConfig(model="Qwen/Qwen2-VL-7B-Instruct"), TAXONOMY, 0)
    assert "folder" in caught.value.hint


def test_a_checkpoint_without_weights(local: Path) -> None:
    (local / "model.safetensors").unlink()
    with pytest.raises(WeightsUnavailable, match="cannot be loaded"):
        open_qwen(VlmConfig(model=str(local)), TAXONOMY, 0)


@pytest.mark.parametrize("family", ["qwen2", "clip", "llama"])
def test_a_checkpoint_that_is_no_qwen_vl(family: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    with pytest.raises(BackboneError, match=f"'{family}', not a Qwen-VL") as caught:
        open_qwen(VlmConfig(model=str(tmp_path)), TAXONOMY, 0)
    assert "qwen2_5_vl" in caught.value.hint


@pytest.mark.parametrize("package", ["transformers", "peft"])
def test_without_the_extra(package: str, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"facetry\[vlm\]"):
        open_qwen(VlmConfig(model="tiny"), TAXONOMY, 0)
    with pytest.raises(MissingExtra, match=r"facetry\[vlm\]"):
        load(fitted)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: (folder / "vlm.json").write_text("{}"), "vlm.json|cannot be loaded"),
        (lambda folder: (folder / "preprocess.json").unlink(), r"preprocess\.json cannot be read"),
        (lambda folder: shutil.rmtree(folder / "processor"), "not on this machine|cannot be loaded"),
    ],
)
def test_a_folder_that_does_not_fit(
    damage: Callable[[Path], object], named: str, fitted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(fitted, folder)
    damage(folder)
    write_checksums(folder)
    with pytest.raises(ModelFolderError, match=named):
        load(folder)


def test_a_damaged_adapter(fitted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(fitted, folder)
    file = folder / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelFolderError, match="checksum"):
        load(folder)
