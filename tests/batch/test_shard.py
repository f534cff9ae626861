"""Scoring a shard: every product has a row, whatever fails."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from facetry.batch.previous import NO_PREVIOUS_ROWS
from facetry.batch.shard import Shard, cut, score_shard
from facetry.errors import BackgroundError, PredictorMismatch
from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from tests.batch.workloads import Lines, Seeing, make_table, open_table, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_table(tmp_path, 27)


@pytest.fixture
def shard(folder: Path) -> Shard:
    return next(cut(open_table(folder)))


def test_a_table_is_cut_as_often_as_wanted(folder: Path) -> None:
    shards = list(cut(open_table(folder), 10))
    assert [(each.number, len(each.products)) for each in shards] == [(0, 10), (1, 10), (2, 7)]
    assert [each.id for shard in shards for each in shard.products] == list(range(27))


def test_failures_are_rows(shard: Shard) -> None:
    lines = Lines()
    scored = score_shard(shard, Seeing(culprits=[4, 20]), advance=lines.advance, reporter=lines)
    statuses = dict(zip(scored.rows["id"], scored.rows["status"], strict=True))
    assert {each: status for each, status in statuses.items() if status != "ok"} == {
        3: "file not found",
        4: "failed: RuntimeError",
        5: "not an image",
        20: "failed: RuntimeError",
    }
    assert list(statuses) == list(range(27))
    assert [bool(len(each)) for each in scored.rows["predictions"]] == [
        status == "ok" for status in statuses.values()
    ]
    assert lines.said == ["Product 4 failed: RuntimeError: cannot see 4"]
    assert lines.num_rows == 27


def test_failures_do_not_change_the_other_predictions(shard: Shard) -> None:
    fine = score_shard(shard, Seeing()).rows
    some = score_shard(shard, Seeing(culprits=[4])).rows
    assert fine.filter(fine["id"] != 4).equals(some.filter(some["id"] != 4))


class Wrong(Seeing):
    """Answers with what is no probability."""

    def predict(self, products: Sequence[Product]) -> Predictions:
        predictions = super().predict(products)
        return Predictions.of(self.taxonomy, products, predictions.probabilities * float("nan"))


def test_answers_that_are_no_numbers_have_failed(shard: Shard) -> None:
    rows = score_shard(shard, Wrong()).rows
    assert set(rows["status"]) == {"failed: AssertionError", "file not found", "not an image"}


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), MemoryError(), BackgroundError("no such model")]
)
def test_errors_that_concern_all_products_are_raised(shard: Shard, error: BaseException) -> None:
    class Raising(Seeing):
        def predict(self, products: Sequence[Product]) -> Predictions:  # noqa: ARG002
            raise error

    with pytest.raises(type(error)):
        score_shard(shard, Raising())


def test_a_loader_that_cannot_start(shard: Shard) -> None:
    class Masked(Seeing):
        preprocesses = (
            Preprocess(
                size_px=8,
                mean=(0, 0, 0),
                std=(1, 1, 1),
                background="rembg",
                background_model=Path("nowhere.onnx"),
            ),
        )

    with pytest.raises(BackgroundError):
        score_shard(shard, Masked())


def test_a_predictor_that_fails_on_everything_stops_the_run(tmp_path: Path) -> None:
    folder = make_table(tmp_path, 90)
    with pytest.raises(PredictorMismatch, match="failed on each of 88 products: RuntimeError"):
        run(folder, Seeing(culprits=range(90)), shard_rows=100)
    assert not list((folder / "out").rglob("*.parquet"))


def test_few_failures_do_not(folder: Path) -> None:
    summary = run(folder, Seeing(culprits=range(27)))
    assert summary.problems == {"failed: RuntimeError": 25, "file not found": 1, "not an image": 1}


def test_a_first_run_has_no_previous_rows(shard: Shard) -> None:
    assert not any(NO_PREVIOUS_ROWS.has(product) for product in shard.products)
    assert score_shard(shard, Seeing()).num_reused == 0
