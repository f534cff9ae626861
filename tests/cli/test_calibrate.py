"""`facetry calibrate`, and what `predict` and `fill` do at a promised precision."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from facetry.build.calibrate import calibrate_model
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.repairs import Repair, write_repairs
from facetry.cli import main
from facetry.confidence.calibration import read_calibration
from facetry.confidence.mapping import summarise
from facetry.errors import (
    CalibrationError,
    CatalogueError,
    FacetryError,
    HeldOutLearned,
    NotEnoughData,
    SettingError,
)
from facetry.models.folder import open_folder
from tests.conftest import MakeOnce, MakeRecipe

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def calibrated(tiny_model: Path, other: Path, make_once: MakeOnce) -> Path:
    """The tiny model, calibrated on the other products; not to be written to."""

    def make(folder: Path) -> None:
        shutil.copytree(tiny_model, folder)
        calibrate_model(folder, open_catalogue(other))

    return make_once("calibrated", make)


@pytest.fixture
def run() -> Run:
    """Run a command; errors that users can cause are in its result."""

    def invoke(*words: object) -> Result:
        runner = CliRunner(env={"COLUMNS": "100"})
        result = runner.invoke(main.app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, FacetryError | SystemExit):
            raise result.exception
        return result

    return invoke


def test_promises_are_stored_and_shown(run: Run, tiny_model: Path, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    before = open_folder(folder)
    page = tmp_path / "calibration.html"
    first = run("calibrate", folder, other, "--precision", "0.3", "--report", page)
    assert "Blank or labelled" in page.read_text()
    assert "NLL" in first.stdout
    assert re.search(r"\d+ of \d+ heads promise a precision of 0.3", first.stdout)
    assert "at most about 5 are false" in first.stdout
    after = open_folder(folder)
    assert before.plain_fingerprint == after.plain_fingerprint != after.fingerprint
    again = run("calibrate", folder, "--precision", "0.3")
    assert again.stdout.splitlines()[-3:] == first.stdout.splitlines()[-3:]


def test_what_labels_allow_stands_beside_the_promises(
    run: Run, calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder, audit = tmp_path / "model", tmp_path / "audit"
    shutil.copytree(calibrated, folder)
    audit.mkdir()
    refused = run("calibrate", folder, "--precision", "0.3", "--audit", audit)
    assert isinstance(refused.exception, SettingError)
    heads = open_folder(folder).taxonomy.heads
    wrong = [{"category": each.category, "attribute": each.attribute, "share": 0.04} for each in heads]
    (audit / "audit.json").write_text(json.dumps({"wrong_labels": wrong}))
    page = tmp_path / "page.html"
    shown = run("calibrate", folder, other, "--precision", "0.3", "--audit", audit, "--report", page)
    assert "ceiling" in shown.stdout
    assert "0.960" in shown.stdout
    assert "0.960" in page.read_text()


def test_only_what_is_promised_is_filled(
    run: Run, calibrated: Path, other: Path, tmp_path: Path
) -> None:
    shop, out = tmp_path / "shop", tmp_path / "filled.csv"
    shutil.copytree(other, shop)
    table = pl.read_csv(shop / "train.csv", infer_schema=False)
    table.with_columns(attr_1=pl.lit(None, pl.String)).write_csv(shop / "train.csv")
    options = ("--precision", "0.3", "--engine", "torch")
    filled = run("fill", calibrated, shop, "-o", out, *options)
    assert "heads promise a precision of 0.3" in filled.stdout
    after = pl.read_csv(out, infer_schema=False)
    actions = {"attr_1 action", "attr_1 confidence", "attr_1 alternatives"}
    assert actions <= set(after.columns)
    has_action = after.filter(pl.col("attr_1 action").is_not_null())
    assert "fill" in set(has_action["attr_1 action"]) <= {"fill", "review", "abstain"}
    assert has_action.filter(
        (pl.col("attr_1 action") == "fill") != pl.col("attr_1").is_not_null()
    ).is_empty()
    run("predict", calibrated, shop, "-o", tmp_path / "out", "--format", "csv", *options)
    predicted = pl.read_csv(tmp_path / "out" / "predictions.csv", infer_schema=False)
    assert predicted.columns[-3:] == ["action", "alternatives", "reason"]
    taxonomy = open_folder(calibrated).taxonomy
    first = {category: taxonomy.attributes(category)[0] for category in taxonomy.categories}
    of_first = predicted.filter(pl.col("attribute") == pl.col("category").replace_strict(first))
    joined = has_action.select("id", "attr_1 action").join(of_first, on="id")
    assert joined.height == has_action.height
    assert joined.filter(pl.col("attr_1 action") != pl.col("action")).is_empty()
    plain = run("fill", calibrated, shop, "-o", tmp_path / "plain.csv", *options, "--only-values")
    assert plain.exit_code == 0
    assert not actions & set(pl.read_csv(tmp_path / "plain.csv").columns)
    refused = run("fill", calibrated, shop, "-o", tmp_path / "all.csv", "--only-values")
    assert isinstance(refused.exception, SettingError)
    assert not (tmp_path / "all.csv").exists()


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("0", "cannot be promised"),
        ("1", "cannot be promised"),
        ("nan", "cannot be promised"),
        ("-0.5", "cannot be promised"),
    ],
)
def test_what_is_no_precision(
    run: Run, calibrated: Path, other: Path, tmp_path: Path, precision: str, message: str
) -> None:
    result = run("fill", calibrated, other, "-o", tmp_path / "x.csv", "--precision", precision)
    assert isinstance(result.exception, SettingError)
    assert message in result.exception.message
    assert "0.95" in result.exception.hint


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "95"], "cannot be promised"),
        (["--audit", "."], "holds no audit"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(
    run: Run, calibrated: Path, words: list[str], message: str
) -> None:
    result = run("calibrate", calibrated, "no catalogue", *words)
    assert isinstance(result.exception, SettingError)
    assert message in result.exception.message


@pytest.mark.parametrize("option", ["--report", "--images", "--repairs"])
def test_options_that_are_about_a_catalogue_need_one(run: Run, calibrated: Path, option: str) -> None:
    result = run("calibrate", calibrated, option, "x")
    assert isinstance(result.exception, SettingError)
    assert option in result.exception.message


def test_per_cent_are_understood(run: Run, calibrated: Path, other: Path, tmp_path: Path) -> None:
    result = run("fill", calibrated, other, "-o", tmp_path / "x.csv", "--precision", "90")
    assert isinstance(result.exception, SettingError)
    assert "90% is 0.9" in result.exception.hint


def test_a_precision_that_cannot_be_met(run: Run, calibrated: Path, other: Path, tmp_path: Path) -> None:
    result = run("fill", calibrated, other, "-o", tmp_path / "x.csv", "--precision", "0.999")
    assert isinstance(result.exception, CalibrationError)
    assert "No head can promise a precision of 0.999" in result.exception.message
    assert not (tmp_path / "x.csv").exists()


def test_a_model_without_promises(run: Run, tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    result = run("fill", tiny_model, drawn, "-o", tmp_path / "x.csv", "--precision", "0.9")
    assert isinstance(result.exception, CalibrationError)
    assert "facetry calibrate" in result.exception.hint


def test_what_the_model_learned_from_is_refused(
    run: Run, tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    own = run("calibrate", tiny_model, drawn)
    assert isinstance(own.exception, NotEnoughData)
    learned = pl.read_parquet(tiny_model / "split.parquet").filter(pl.col("part") == "train")["id"]
    part = tmp_path / "part"
    shutil.copytree(drawn, part)
    table = pl.read_csv(part / "train.csv")
    table.filter(pl.col("id").is_in(learned.implode())).write_csv(part / "train.csv")
    result = run("calibrate", tiny_model, part)
    assert isinstance(result.exception, HeldOutLearned)


def test_a_damaged_or_foreign_calibration_is_refused_until_it_is_made_anew(
    run: Run, calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(calibrated, folder)
    text = (folder / "calibration.json").read_text()
    (folder / "calibration.json").write_text(text.replace("0.", "1.", 1))
    assert "damaged" in run("calibrate", folder).exception.message  # type: ignore[union-attr]
    foreign = tmp_path / "foreign"
    shutil.copytree(calibrated, foreign)
    (foreign / "checksums.json").write_text((foreign / "checksums.json").read_text() + "\n")
    assert "another model" in run("calibrate", foreign).exception.message  # type: ignore[union-attr]
    again = run("calibrate", folder, other)
    assert again.exit_code == 0
    assert "probabilities are the model's own" in again.stderr
    assert run("calibrate", folder).exit_code == 0


def test_labels_that_were_not_drawn_at_random_do_not_count(
    calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder, repairs = tmp_path / "model", tmp_path / "repairs.csv"
    shutil.copytree(calibrated, folder)
    before = calibrate_model(folder, open_catalogue(other)).calibration.evidence
    known = next(each for each in open_catalogue(other).products() if each.labels)
    attribute, old = next(iter(known.labels.items()))
    head = open_folder(folder).taxonomy.head(known.category, attribute)
    new = next(value for value in head.values if value != old)
    facts = {"id": known.id, "category": known.category, "attribute": attribute, "old": old, "new": new}
    for chosen, num_lost in (("random", 0), ("unsure", 1)):
        write_repairs(repairs, [Repair(**facts, chosen=chosen)])
        opened = open_catalogue(other, repairs=repairs)
        after = calibrate_model(folder, opened).calibration.evidence
        assert len(before) - len(after) == num_lost
        repairs.unlink()


def test_not_applicable_is_an_error_of_every_value(
    calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder, shop = tmp_path / "model", tmp_path / "shop"
    shutil.copytree(calibrated, folder)
    shutil.copytree(other, shop)
    before = calibrate_model(folder, open_catalogue(shop)).after
    table = pl.read_csv(shop / "train.csv", infer_schema=False)
    is_blank = pl.col("attr_1").is_null()
    num_blank = table.filter(is_blank).height
    said = pl.when(is_blank).then(pl.lit("not applicable")).otherwise("attr_1")
    table.with_columns(attr_1=said).write_csv(shop / "train.csv")
    after = calibrate_model(folder, open_catalogue(shop)).after
    assert 0 < len(after) - len(before) <= num_blank
    assert after.is_right.sum() == before.is_right.sum()


def test_products_with_nothing_but_not_applicable_count(
    calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder, shop = tmp_path / "model", tmp_path / "shop"
    shutil.copytree(calibrated, folder)
    shutil.copytree(other, shop)
    table = pl.read_csv(shop / "train.csv", infer_schema=False)
    slots = [name for name in table.columns if name.startswith("attr_")]
    nothing = {slot: pl.lit(None, pl.String) for slot in slots[1:]}
    table.with_columns(attr_1=pl.lit("not applicable"), **nothing).write_csv(shop / "train.csv")
    found = calibrate_model(folder, open_catalogue(shop))
    assert len(found.after) > 0
    assert not found.after.is_right.any()
    scores = summarise(found.after)
    assert np.isnan([scores.nll, scores.brier]).all()
    assert scores.accuracy == 0


def test_photos_that_cannot_be_read_do_not_replace_what_is_known(
    calibrated: Path, other: Path, tmp_path: Path
) -> None:
    folder, photos = tmp_path / "model", tmp_path / "photos"
    shutil.copytree(calibrated, folder)
    photos.mkdir()
    (photos / "000001.jpg").write_bytes(b"no photo")
    before = open_folder(folder).fingerprint
    with pytest.raises(
        NotEnoughData, match=r"None of \d+ labelled products can be calibrated on: .+: \d+"
    ):
        calibrate_model(folder, open_catalogue(other, images=photos))
    assert open_folder(folder).fingerprint == before


def test_filled_values_are_no_labels_even_without_the_record(
    calibrated: Path, other: Path, tmp_path: Path, run: Run
) -> None:
    shop, folder = tmp_path / "shop", tmp_path / "model"
    shutil.copytree(other, shop)
    shutil.copytree(calibrated, folder)
    out = tmp_path / "filled.csv"
    run("fill", calibrated, shop, "-o", out, "--precision", "0.3", "--engine", "torch")
    out.replace(shop / "train.csv")
    result = run("calibrate", folder, shop)
    assert isinstance(result.exception, CatalogueError)
    assert "'attr_1 action'" in result.exception.message


def test_frozen_heads_are_cross_fitted(
    run: Run, drawn: Path, make_recipe: MakeRecipe, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    frozen = {"name": "nano_convnext", "weights": "none", "frozen": True}
    train(make_recipe(backbone=frozen), open_catalogue(drawn), folder)
    result = run("calibrate", folder, drawn, "--cross-fit", "--precision", "0.3")
    assert "cross-fitted" in result.stdout
    calibration = read_calibration(open_folder(folder))
    assert calibration is not None
    assert len(calibration.evidence) > 100
    refused = run("calibrate", tiny_model, drawn, "--cross-fit")
    assert isinstance(refused.exception, SettingError)
    assert "no frozen backbone" in refused.exception.message
