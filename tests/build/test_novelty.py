"""Training learns what other photos are compared with, and the predictor it makes tells novel ones."""

import shutil
from pathlib import Path

import numpy as np

from facetry.build.calibrate import calibrate_model
from facetry.build.load import load, load_plain
from facetry.build.novelty import learn_novelty
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import SplitConfig, make_split
from facetry.confidence.calibration import uncalibrated
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.metrics import predict
from facetry.models.folder import CALIBRATION, NOVELTY, open_folder, write_checksums
from facetry.predictors.ensemble import Ensemble
from facetry.runtime.progress import SILENT


def test_training_stores_what_it_learned_from(tiny_model: Path, catalogue: Catalogue) -> None:
    folder = open_folder(tiny_model)
    assert (tiny_model / NOVELTY).is_file()
    assert NOVELTY not in folder.checksums
    found = predict(load(folder), catalogue.products(range(20)))
    assert found.novelty is not None
    assert found.novelty.shape == (20,)
    assert not found.is_novel.any(), "too few products to set thresholds on"
    assert type(uncalibrated(load(folder))) is type(load_plain(folder))


def test_a_model_of_an_earlier_version_predicts_as_before(
    tiny_model: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    old = shutil.copytree(tiny_model, tmp_path / "old")
    (old / NOVELTY).unlink()
    products = catalogue.products(range(20))
    found = predict(load(old), products)
    assert found.novelty is None
    expected = predict(load(tiny_model), products)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)
    assert open_folder(old).fingerprint != open_folder(tiny_model).fingerprint


def test_calibrating_an_older_model_adds_it(
    tiny_model: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    old = shutil.copytree(tiny_model, tmp_path / "old")
    for name in (NOVELTY, CALIBRATION):
        (old / name).unlink()
    shares = SplitConfig(method="random", validation=0.6, test=0.1, calibration=0.2)
    make_split(catalogue, shares, seed=0).save(old / SPLIT, catalogue)
    write_checksums(old)
    first = calibrate_model(old, catalogue).calibration.novelty
    assert first is not None
    again = calibrate_model(old, catalogue).calibration.novelty
    assert again is not None
    assert np.array_equal(again.thresholds, first.thresholds)
    assert predict(load(old), catalogue.products()).novelty is not None


def test_an_ensemble_compares_by_its_first_member_with_features(
    tiny_model: Path, catalogue: Catalogue
) -> None:
    plain = load_plain(tiny_model)
    split = make_split(catalogue, SplitConfig(method="random", validation=0.6, test=0.1), seed=0)
    whole = learn_novelty(Ensemble.of({"a": plain, "b": plain}), catalogue, split, SILENT)
    alone = learn_novelty(plain, catalogue, split, SILENT)
    assert whole is not None
    assert alone is not None
    assert np.array_equal(whole.references, alone.references)
