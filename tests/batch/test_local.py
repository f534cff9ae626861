"""Predicting a table: three files, no product forgotten, nothing guessed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.batch import shard
from facetry.batch.local import BatchConfig, BatchSummary, predict_table
from facetry.batch.outputs import OutputConfig
from facetry.catalogue.catalogue import open_catalogue
from facetry.errors import CatalogueError
from facetry.evaluation.metrics import predict
from facetry.predictions import Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.runtime.files import sha256
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["zari", "temple"], "color": ["red", "blue", "green"]},
        "Men Tshirts": {"neck": ["polo", "round"]},
    }
)


class Uniform:
    """A predictor that is as unsure as can be."""

    taxonomy = TAXONOMY
    preprocesses = (Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)),)

    def predict(self, products: Sequence[Product]) -> Predictions:
        codes = [
            TAXONOMY.categories.index(each.category) if each.category in TAXONOMY.categories else 0
            for each in products
        ]
        mask = TAXONOMY.value_mask[codes]
        counts = mask.sum(axis=2, keepdims=True)
        return Predictions.of(TAXONOMY, products, (mask / np.maximum(counts, 1)).astype(np.float32))


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """Four products: fine, unknown category, no photo, text for a photo."""
    (tmp_path / "photos").mkdir()
    photos = sorted((drawn / "train_images").iterdir(), key=lambda path: -path.stat().st_size)
    for name in ("007", "008", "010"):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "photos" / "010.jpg").write_text("not a photo")
    rows = ["id,Category", "007,Sarees", "008,Sandals", "009,Sarees", "010,Men Tshirts", ""]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path


def run(folder: Path, **options: str) -> BatchSummary:
    catalogue = open_catalogue(folder / "table.csv", images=folder / "photos", taxonomy=TAXONOMY)
    outputs = OutputConfig(**options)  # type: ignore[arg-type]
    config = BatchConfig(model="one", outputs=outputs)
    return predict_table(Uniform(), catalogue, folder / "out", config)


def test_problems_are_listed_and_never_guessed(folder: Path) -> None:
    summary = run(folder)
    assert summary.num_products == 4
    problems = pl.read_csv(folder / "out" / "problems.csv", infer_schema=False)
    assert problems.rows() == [
        ("3", "008", "Sandals", str(folder / "photos" / "008.jpg"), "unknown category 'Sandals'"),
        ("4", "009", "Sarees", str(folder / "photos" / "009.jpg"), "file not found"),
        ("5", "010", "Men Tshirts", str(folder / "photos" / "010.jpg"), "not an image"),
    ]
    assert summary.problems.total() == 3
    long = pl.read_parquet(folder / "out" / "predictions.parquet")
    assert long.columns == ["id", "category", "attribute", "value", "confidence"]
    assert long.rows() == [
        ("007", "Sarees", "border", "temple", 0.5),
        ("007", "Sarees", "color", "blue", pytest.approx(1 / 3)),
    ]


def test_submission_has_every_row_in_order(folder: Path) -> None:
    run(folder, fill="nu")
    text = (folder / "out" / "submission.csv").read_text()
    assert text.splitlines() == [
        "id,Category,len,attr_1,attr_2",
        "007,Sarees,2,temple,blue",
        "008,Sandals,0,nu,nu",
        "009,Sarees,2,nu,nu",
        "010,Men Tshirts,1,nu,nu",
    ]


def test_csv_on_request(folder: Path) -> None:
    run(folder)
    assert run(folder, table_format="csv").num_reused == 3  # a form is no other model
    assert (folder / "out" / "predictions.csv").read_text().count("\n") == 3
    assert not (folder / "out" / "predictions.parquet").exists()


def test_nothing_is_left_of_a_run_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Uniform, products: Sequence[Product]) -> Predictions:  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.setattr(Uniform, "predict", fail)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert [path.name for path in (folder / "out").iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    "rows", [["id,Category"], ["id,Category", "7,Sarees", "7,Sarees"], ["id,Category", ",Sarees"]]
)
def test_tables_that_cannot_be_worked_with(folder: Path, rows: list[str]) -> None:
    (folder / "table.csv").write_text("\n".join([*rows, ""]))
    with pytest.raises(CatalogueError):
        run(folder)


def test_the_challenges_form_exactly(
    drawn: Path, tiny_predictor: Predictor, shared_data: Path, tmp_path: Path
) -> None:
    catalogue = open_catalogue(drawn / "test.csv", taxonomy=tiny_predictor.taxonomy)
    predict_table(tiny_predictor, catalogue, tmp_path, BatchConfig(model="tiny"))
    ours = pl.read_csv(tmp_path / "submission.csv", infer_schema=False)
    theirs = pl.read_csv(shared_data / "meesho" / "sample_submission.csv", infer_schema=False)
    assert ours.columns == theirs.columns
    assert ours["id"].to_list() == [str(each) for each in catalogue.table["id"]]
    lengths = {
        "Men Tshirts": "5",
        "Sarees": "10",
        "Kurtis": "9",
        "Women Tshirts": "8",
        "Women Tops & Tunics": "10",
    }
    assert ours["len"].to_list() == [lengths[category] for category in ours["Category"]]


def test_parts_give_the_same_tables_as_one_run(
    drawn: Path, tiny_predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = open_catalogue(drawn / "test.csv", taxonomy=tiny_predictor.taxonomy)
    monkeypatch.setattr(shard, "_ROWS_AT_ONCE", 7)
    config = BatchConfig(model="tiny", shard_rows=5, outputs=OutputConfig(fill="nu"))
    summary = predict_table(tiny_predictor, catalogue, tmp_path, config)
    assert len(list((tmp_path / "parts").iterdir())) == -(-len(catalogue) // 5)
    expected = predict(tiny_predictor, catalogue.products())
    got = pl.read_parquet(tmp_path / "predictions.parquet")
    assert got.schema == expected.to_long().schema
    assert got.drop("confidence").equals(expected.to_long().drop("confidence"))
    np.testing.assert_allclose(got["confidence"], expected.to_long()["confidence"], atol=1e-5)
    submission = expected.to_wide(fill="nu").write_csv()
    assert (tmp_path / "submission.csv").read_text() == submission
    problems = pl.read_csv(tmp_path / "problems.csv")
    rows = {each: row for row, each in enumerate(catalogue.table["id"], start=2)}
    assert problems["row"].to_list() == [rows[each] for each in problems["id"]]
    assert problems.select("id", "category", "problem").rows() == expected.to_problems().rows()
    assert summary.num_predicted == expected.readable.sum()


def test_the_manifest_lists_the_files(folder: Path) -> None:
    run(folder)
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    (part,) = manifest["parts"]
    assert part["statuses"] == {
        "file not found": 1,
        "not an image": 1,
        "ok": 1,
        "unknown category 'Sandals'": 1,
    }
    assert part["sha256"] == sha256(folder / "out" / "parts" / part["name"])
    rows = pl.read_parquet(folder / "out" / "parts" / part["name"])
    assert rows["id"].to_list() == ["007", "008", "009", "010"]
    assert rows["digest"][0] == sha256(folder / "photos" / "007.jpg")
    second = rows["predictions"][0][1]
    assert second.pop("confidence") == pytest.approx(1 / 3)
    assert second.pop("attribute") == "color"
    assert second.pop("value") == "blue"
    assert not any(second.values())  # nothing was decided
