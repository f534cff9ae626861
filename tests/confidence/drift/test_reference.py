"""The reference is held out, kept in the model folder, and refused where it is not the model's."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.build.load import load
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import read_split
from facetry.confidence.calibration import read_calibration
from facetry.confidence.drift.reference import measure_reference, read_reference, save_reference
from facetry.confidence.drift.sample import Sample
from facetry.errors import DriftReferenceError, NotEnoughData
from facetry.evaluation.held_out import SPLIT
from facetry.models.folder import CHECKSUMS, DRIFT, open_folder, write_checksums
from facetry.predictions import Predictor


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be written to."""
    shutil.copytree(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def equal(one: Sample, other: Sample) -> bool:
    names = ("categories", "top", "confidence", "quality", "features")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_training_keeps_one_of_the_held_out_products(tiny_model: Path, catalogue: Catalogue) -> None:
    split = read_split(tiny_model / SPLIT, catalogue)
    kept = read_reference(open_folder(tiny_model))
    assert len(kept) + kept.num_unreadable == np.count_nonzero(split.codes > 0)
    assert kept.facts["table"] == "train.csv"
    assert kept.products == ()
    assert (tiny_model / DRIFT).stat().st_size < 60_000


def test_it_is_no_part_of_the_model(model: Path) -> None:
    before = open_folder(model).fingerprint
    assert DRIFT not in json.loads((model / CHECKSUMS).read_text())["files"]
    (model / DRIFT).unlink()
    assert open_folder(model).fingerprint == before


def test_the_catalogue_gives_the_same_once_more(tiny_model: Path, catalogue: Catalogue) -> None:
    folder = open_folder(tiny_model)
    made = measure_reference(load(tiny_model), folder, catalogue)
    assert equal(made, read_reference(folder))
    assert len(made.products) == len(made)


def test_another_catalogue_is_measured_whole(
    tiny_model: Path, drawn: Path, tiny_predictor: Predictor
) -> None:
    folder = open_folder(tiny_model)
    other = open_catalogue(drawn / "test.csv", taxonomy=folder.taxonomy)
    made = measure_reference(tiny_predictor, folder, other)
    assert made.facts["products"] == f"{len(other)}, all"


def test_a_catalogue_that_was_all_trained_on_is_refused(
    model: Path, catalogue: Catalogue, tiny_predictor: Predictor
) -> None:
    split = read_split(model / SPLIT, catalogue)
    replace(split, codes=np.zeros_like(split.codes)).save(model / SPLIT, catalogue)
    write_checksums(model)
    with pytest.raises(NotEnoughData, match="trained on every product"):
        measure_reference(tiny_predictor, open_folder(model), catalogue)


def test_what_was_saved_is_read(model: Path) -> None:
    folder = open_folder(model)
    sample = replace(read_reference(folder), problems=Counter({"file is empty": 3}), features=None)
    save_reference(folder, sample)
    found = read_reference(folder)
    assert found.features is None
    assert found.num_unreadable == 3
    assert equal(replace(found, features=sample.quality), replace(sample, features=sample.quality))


def test_a_later_calibration_by_the_same_map_leaves_it(model: Path) -> None:
    folder = open_folder(model)
    calibration = read_calibration(folder)
    assert calibration is not None
    replace(calibration, facts={"table": "another"}).save(folder)
    assert len(read_reference(folder))
    mapping = replace(calibration.map, log_temperatures=calibration.map.log_temperatures + 1)
    replace(calibration, map=mapping).save(folder)
    with pytest.raises(DriftReferenceError, match="another model, or before this one was calibrated"):
        read_reference(folder)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_feature(content: bytes) -> bytes:
    position = content.index(b"features.npy") + 1000
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [cut, flip_a_feature, lambda _: b"", lambda _: b"no zip", lambda each: each[:-500] + bytes(500)],
    ids=["cut", "one bit", "empty", "text", "zeros at the end"],
)
def test_a_damaged_one_is_refused(model: Path, damage: Callable[[bytes], bytes]) -> None:
    file = model / DRIFT
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DriftReferenceError, match="damaged") as caught:
        read_reference(open_folder(model))
    assert "--reference" in caught.value.hint


def test_a_missing_one_says_how_to_make_it(model: Path) -> None:
    (model / DRIFT).unlink()
    with pytest.raises(DriftReferenceError, match="no reference") as caught:
        read_reference(open_folder(model))
    assert "--reference" in caught.value.hint


def test_the_calibrated_model_is_measured(tiny_model: Path, catalogue: Catalogue) -> None:
    """Confidence is what users see of it."""
    folder = open_folder(tiny_model)
    made = measure_reference(load(folder), folder, catalogue)
    assert np.array_equal(made.confidence, read_reference(folder).confidence)
