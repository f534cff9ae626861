"""A model folder gives back what was put in, or is refused with the name of what is wrong."""

import json
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from facetry.build.load import load
from facetry.errors import ModelFolderError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import (
    BACKGROUND,
    WEIGHTS,
    load_classifier,
    save_classifier,
)
from facetry.models.config import PhotosConfig, TextConfig
from facetry.models.folder import CHECKSUMS, open_folder, write_checksums
from facetry.predictors.ensemble import Ensemble
from facetry.product import Product
from facetry.runtime.files import write_text
from tests.models.conftest import ODD, SMALL_VIT, make_classifier, with_pixels

PRODUCTS = [Product(id=row, category=ODD.categories[row % 3]) for row in range(5)]
FILES = [WEIGHTS, "taxonomy.json", "recipe.yaml", "preprocess.json", "metrics.json"]


def write_folder(
    folder: Path, classifier: Classifier, *, weights: str = "none", **parts: object
) -> Path:
    backbone = {**SMALL_VIT.model_dump(), "weights": weights}
    recipe = {"kind": "classifier", "backbone": backbone, "heads": {"hidden_dim": 8}, **parts}
    save_classifier(folder, classifier)
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))
    write_text(folder / "metrics.json", "{}")
    write_text(folder / "training" / "log.csv", "epoch,loss\n1,0.5\n")
    write_checksums(folder)
    return folder


def write_ensemble(folder: Path) -> Path:
    for seed, name in enumerate(("one", "two")):
        write_folder(folder / "members" / name, make_classifier(seed=seed))
    member = {"kind": "classifier", "backbone": SMALL_VIT.model_dump(), "heads": {"hidden_dim": 8}}
    recipe = {
        "kind": "ensemble",
        "members": {"one": member, "two": member},
        "weights": {"one": 3, "two": 1},
    }
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))
    write_text(folder / "taxonomy.json", ODD.to_json())
    write_checksums(folder)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("models") / "whole", make_classifier())


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(whole, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def ensemble_folder(tmp_path: Path) -> Path:
    return write_ensemble(tmp_path / "ensemble")


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def test_a_loaded_model_equals_the_saved_one(tmp_path: Path) -> None:
    classifier = make_classifier(seed=3)
    loaded = load(write_folder(tmp_path / "model", classifier))
    assert isinstance(loaded, Classifier)
    assert loaded.taxonomy == classifier.taxonomy
    assert loaded.preprocesses == classifier.preprocesses
    assert not loaded.training
    products = with_pixels(classifier, PRODUCTS)
    expected, got = classifier.predict(products), loaded.predict(products)
    assert np.array_equal(expected.probabilities, got.probabilities)


@pytest.mark.parametrize("encoder", [None, "nano_coca"])
def test_neck_and_text_encoder_come_back(tmp_path: Path, encoder: str | None) -> None:
    text = TextConfig(fusion="gate", encoder=encoder, weights="none")
    photos = PhotosConfig(max=3, pool="attention")
    classifier = make_classifier(seed=3, text=text, photos=photos)
    parts = {"text": text.model_dump(), "photos": photos.model_dump()}
    loaded = load(write_folder(tmp_path / "model", classifier, **parts))
    assert loaded.preprocesses == classifier.preprocesses
    products = [replace(each, text=f"title {each.id}") for each in with_pixels(classifier, PRODUCTS)]
    expected, got = classifier.predict(products), loaded.predict(products)
    assert np.array_equal(expected.probabilities, got.probabilities)
    assert json.loads((tmp_path / "model" / "preprocess.json").read_text())["max_photos"] == 3


def test_preprocessing_says_nothing_of_backgrounds_that_are_kept(whole: Path) -> None:
    stored = json.loads((whole / "preprocess.json").read_text())
    assert sorted(stored) == ["interpolation", "mean", "resize", "size_px", "std"]


def test_the_model_that_removes_backgrounds_comes_along(tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_bytes(b"a network")
    classifier = make_classifier()
    removed = {"background": "rembg", "background_model": network}
    classifier.backbone.preprocess = classifier.backbone.preprocess.model_copy(update=removed)
    folder = write_folder(tmp_path / "model", classifier)
    network.unlink()
    assert json.loads((folder / CHECKSUMS).read_text())["files"][BACKGROUND]
    folder = folder.rename(tmp_path / "moved")
    (preprocess,) = load(folder).preprocesses
    assert preprocess.background == "rembg"
    assert preprocess.background_model == folder / BACKGROUND
    assert (folder / BACKGROUND).read_bytes() == b"a network"
    (folder / BACKGROUND).write_bytes(b"another")
    with pytest.raises(ModelFolderError, match="damaged"):
        load(folder)


def test_saving_twice_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    again = write_folder(tmp_path / "again", make_classifier())
    for name in [*FILES, CHECKSUMS]:
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("weights", ["hub", "nowhere/weights.pt"])
def test_loading_needs_no_network_and_no_pretrained_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    folder = write_folder(tmp_path / "model", make_classifier(), weights=weights)

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load(folder).taxonomy == ODD


def test_the_kind_is_read_from_the_folder(whole: Path, ensemble_folder: Path) -> None:
    assert open_folder(whole).kind == "classifier"
    assert open_folder(ensemble_folder).kind == "ensemble"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0, 0.5, 0.999])
def test_a_flipped_bit(folder: Path, name: str, share: float) -> None:
    flip(folder / name, int(share * (folder / name).stat().st_size))
    with pytest.raises(ModelFolderError, match="damaged") as caught:
        load(folder)
    assert str(folder / name) in caught.value.message
    assert "Copy the model folder again" in caught.value.hint


def test_a_flipped_bit_in_the_checksums(folder: Path) -> None:
    """Whichever it is."""
    path = folder / CHECKSUMS
    content = path.read_bytes()
    for place in range(len(content)):
        flip(path, place, bit=place % 8)
        with pytest.raises(ModelFolderError, match=f"{CHECKSUMS}|format"):
            open_folder(folder).check_weights()
        path.write_bytes(content)
    open_folder(folder).check_weights()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match="missing") as caught:
        load(folder)
    assert str(folder / name) in caught.value.message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tail", [b"", b"\0" * 16])
def test_a_truncated_or_zero_filled_file(folder: Path, name: str, tail: bytes) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: -len(tail) or -1] + tail)
    with pytest.raises(ModelFolderError, match="damaged") as caught:
        load(folder)
    assert str(path) in caught.value.message


def test_a_folder_that_was_never_finished(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()
    with pytest.raises(ModelFolderError, match="never finished"):
        load(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="does not exist"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "7", "{}", '{"format": 1}', '{"format": 1, "files": 3}', '{"format": "x"}'],
)
def test_checksums_that_are_none(folder: Path, content: str) -> None:
    (folder / CHECKSUMS).write_text(content)
    with pytest.raises(ModelFolderError, match=f"{CHECKSUMS} is damaged"):
        load(folder)


def test_a_newer_format(folder: Path) -> None:
    content = json.loads((folder / CHECKSUMS).read_text())
    (folder / CHECKSUMS).write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(ModelFolderError, match="of format 2") as caught:
        load(folder)
    assert "Update" in caught.value.hint


def test_an_unknown_kind(folder: Path) -> None:
    write_text(folder / "recipe.yaml", "kind: oracle\n")
    write_checksums(folder)
    with pytest.raises(ModelFolderError, match="unknown kind 'oracle'") as caught:
        load(folder)
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("names", [[WEIGHTS], ["taxonomy.json"], ["preprocess.json"], ["recipe.yaml"]])
def test_checksums_that_do_not_list_what_is_needed(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink()
    write_checksums(folder)
    with pytest.raises(ModelFolderError) as caught:
        load(folder)
    assert names[0] in str(caught.value)


def test_weights_that_do_not_fit_the_recipe(folder: Path) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["heads"]["hidden_dim"] = 9
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))
    write_checksums(folder)
    with pytest.raises(ModelFolderError, match=f"{WEIGHTS} does not fit recipe.yaml"):
        load_classifier(open_folder(folder))


def test_a_value_that_was_renamed_later_does_not_shift_the_others(whole: Path) -> None:
    """Value order is stored, not found again."""
    stored = json.loads((whole / "taxonomy.json").read_text())["categories"]
    assert stored == ODD.declared()
    assert stored["Sarees"]["border"] == ["none at all", "solid", "zari"]


def test_an_ensemble_comes_back(ensemble_folder: Path) -> None:
    loaded = load(ensemble_folder)
    assert isinstance(loaded, Ensemble)
    assert loaded.weights == {"one": 0.75, "two": 0.25}
    classifiers = [make_classifier(seed=seed) for seed in (0, 1)]
    products = with_pixels(classifiers[0], PRODUCTS)
    first, second = (each.predict(products).probabilities for each in classifiers)
    got = loaded.predict(products).probabilities
    np.testing.assert_allclose(got, 0.75 * first + 0.25 * second, atol=1e-6)


@pytest.mark.parametrize("name", [WEIGHTS, "taxonomy.json", "recipe.yaml"])
def test_an_ensemble_with_a_damaged_member(ensemble_folder: Path, name: str) -> None:
    path = ensemble_folder / "members" / "two" / name
    flip(path, -1)
    with pytest.raises(ModelFolderError, match="damaged") as caught:
        load(ensemble_folder)
    assert str(path) in caught.value.message


def test_an_ensemble_without_one_of_its_members(ensemble_folder: Path) -> None:
    shutil.rmtree(ensemble_folder / "members" / "two")
    with pytest.raises(ModelFolderError, match="two' does not exist"):
        load(ensemble_folder)


def test_weights_are_not_shared_with_the_file(folder: Path) -> None:
    """What is loaded can be trained on, and the folder stays whole."""
    loaded = load(folder)
    assert isinstance(loaded, Classifier)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    open_folder(folder).check_weights()
