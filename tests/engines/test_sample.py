"""Which products an export is checked on, and which it is calibrated with."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.identity import catalogue_identity
from facetry.catalogue.split import PARTS, Split
from facetry.engines import parity
from facetry.engines.sample import choose_sample, load_photos, products_to_check, readable
from facetry.errors import ExportError
from facetry.evaluation.held_out import SPLIT
from facetry.product import Preprocess
from facetry.runtime.progress import SILENT
from facetry.runtime.resumable import JOB

FORM = Preprocess(size_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "MIN_PHOTOS", 10)


@pytest.fixture
def model(catalogue: Catalogue, tmp_path: Path) -> Path:
    """The files of a model folder that record its split: every fourth product in test and validation."""
    job = {**catalogue_identity(catalogue), "split": "any"}
    (tmp_path / JOB).write_text(json.dumps(job))
    codes = np.arange(len(catalogue)) % 4 % 3  # 0 1 2 0
    Split(codes.astype(np.int8)).save(tmp_path / SPLIT, catalogue)
    return tmp_path


def parts_of(rows: np.ndarray) -> list[str]:
    """The part of each row, each run of one part once."""
    names = [PARTS[row % 4 % 3] for row in rows.tolist()]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


@pytest.mark.parametrize("is_int8", [False, True])
def test_held_out_products_come_first_and_calibration_is_on_the_others(
    model: Path, catalogue: Catalogue, is_int8: bool
) -> None:
    chosen = choose_sample(model, catalogue, num_calibration=5 * is_int8, seed=0)
    held_out = ["test", "validation"]
    assert parts_of(chosen.checked) == (held_out if is_int8 else [*held_out, "train"])
    assert parts_of(chosen.calibration) == (["train"] if is_int8 else [])
    assert len(set(chosen.checked)) == len(chosen.checked)
    again = choose_sample(model, catalogue, num_calibration=5 * is_int8, seed=0)
    np.testing.assert_array_equal(again.checked, chosen.checked)
    np.testing.assert_array_equal(again.calibration, chosen.calibration)
    other = choose_sample(model, catalogue, num_calibration=5 * is_int8, seed=1)
    assert (other.checked != chosen.checked).any()


@pytest.mark.parametrize("lacking", ["job", "split", "catalogue"])
def test_without_a_split_of_this_catalogue_any_product_is_checked_on(
    model: Path, catalogue: Catalogue, lacking: str
) -> None:
    if lacking == "job":
        (model / JOB).unlink()
    elif lacking == "split":
        (model / SPLIT).unlink()
    else:
        (model / JOB).write_text(json.dumps(dict.fromkeys(catalogue_identity(catalogue), "another")))
    exact = choose_sample(model, catalogue, seed=0)
    assert sorted(exact.checked) == list(range(len(catalogue)))
    int8 = choose_sample(model, catalogue, num_calibration=1000, seed=0)
    assert not set(int8.checked) & set(int8.calibration)
    assert len(int8.calibration) == len(catalogue) // 4
    assert sorted([*int8.checked, *int8.calibration]) == list(range(len(catalogue)))
    few = choose_sample(model, catalogue, num_calibration=3, seed=0)
    assert (len(few.calibration), len(few.checked)) == (3, len(catalogue) - 3)
    assert all("none of its products is known to be held out" in each.remark for each in (exact, int8))


def test_only_held_out_products_are_scored(model: Path, catalogue: Catalogue) -> None:
    chosen = choose_sample(model, catalogue, seed=0)
    rows = {product.id: row for row, product in enumerate(catalogue.products())}
    checked = list(products_to_check(catalogue, chosen, [FORM], SILENT))
    scored = {PARTS[rows[each.id] % 4 % 3] for each in checked if each.labels}
    others = {PARTS[rows[each.id] % 4 % 3] for each in checked if not each.labels}
    assert scored == {"test", "validation"}
    assert "train" in others
    assert "Scores are of held-out products alone" in chosen.remark
    Split(np.zeros(len(catalogue), np.int8)).save(model / SPLIT, catalogue)
    none = choose_sample(model, catalogue, seed=0)
    assert not any(each.labels for each in products_to_check(catalogue, none, [FORM], SILENT))
    assert "There is no score" in none.remark


def test_other_products_of_the_same_photo_folder(model: Path, drawn: Path, catalogue: Catalogue) -> None:
    table = drawn / "test.csv"
    images = catalogue.source.images
    other = open_catalogue(table, images=images, taxonomy=catalogue.taxonomy)
    same = {**catalogue_identity(other), "catalogue": "another"}
    (model / JOB).write_text(json.dumps(same))
    chosen = choose_sample(model, other, seed=0)
    assert sorted(chosen.checked) == list(range(len(other)))


def test_too_few_held_out_products_for_int8(
    model: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "MIN_PHOTOS", len(catalogue))
    choose_sample(model, catalogue, seed=0)
    with pytest.raises(ExportError, match=r"held-out .* there are \d+\."):
        choose_sample(model, catalogue, num_calibration=1000, seed=0)


def test_a_split_without_training_products(model: Path, catalogue: Catalogue) -> None:
    Split(np.full(len(catalogue), 2, np.int8)).save(model / SPLIT, catalogue)
    assert len(choose_sample(model, catalogue, seed=0).checked) == len(catalogue)
    with pytest.raises(ExportError, match="no training product") as caught:
        choose_sample(model, catalogue, num_calibration=1000, seed=0)
    assert "--int8" in caught.value.hint


def test_photos_that_cannot_be_read_are_left_out(drawn: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(drawn, tmp_path / "catalogue"))
    catalogue = open_catalogue(folder)
    rows = np.arange(len(catalogue))[::-1]
    ids = [each.id for each in catalogue.products(rows)]
    (folder / "train_images" / f"{ids[3]:06d}.jpg").write_bytes(b"")
    found = list(readable(catalogue, rows, [FORM], SILENT))
    assert [each.id for each in found] == [*ids[:3], *ids[4:]]
    photos = load_photos(iter(found), [FORM], 5, SILENT)
    assert [each.shape for each in photos[FORM]] == [(3, 32, 32)] * 5
    np.testing.assert_array_equal(photos[FORM][4], found[4].pixels[FORM])


def test_no_photo_to_calibrate_with(catalogue: Catalogue) -> None:
    broken = (replace(each, problem="file is empty") for each in catalogue.products([0, 1]))
    with pytest.raises(ExportError, match="None of the photos") as caught:
        load_photos((each for each in broken if not each.problem), [FORM], 5, SILENT)
    assert "facetry check" in caught.value.hint
