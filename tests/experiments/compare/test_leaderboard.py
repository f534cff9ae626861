"""Halves, scores, the distance to the best row, the Pareto front."""

from collections.abc import Callable
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split
from facetry.errors import NotEnoughData
from facetry.evaluation.metrics import paired_difference
from facetry.experiments.compare.leaderboard import (
    HeldOutPart,
    Result,
    build_leaderboard,
    pareto_front,
    rank,
)
from tests.experiments.compare.conftest import NUM_RESAMPLES

MakeResult = Callable[..., Result]


def test_the_test_part_is_halved(catalogue: Catalogue, split: Split, test_part: HeldOutPart) -> None:
    assert np.array_equal(test_part.rows, split.rows("test"))
    assert abs(int(test_part.is_public.sum()) - int((~test_part.is_public).sum())) <= 1
    again = HeldOutPart.of(catalogue, split, seed=0)
    assert np.array_equal(again.is_public, test_part.is_public)
    assert not np.array_equal(HeldOutPart.of(catalogue, split, seed=1).is_public, test_part.is_public)
    for half in (test_part.is_public, ~test_part.is_public):
        shares = [(test_part.labels[half, slot] >= 0).mean() for slot in range(3)]
        whole = [(test_part.labels[:, slot] >= 0).mean() for slot in range(3)]
        np.testing.assert_allclose(shares, whole, atol=0.12)


def test_near_duplicates_stay_in_one_half(catalogue: Catalogue, split: Split) -> None:
    groups = np.arange(len(catalogue)) // 4
    test_part = HeldOutPart.of(catalogue, Split(split.codes, groups), seed=0)
    for group in np.unique(groups[test_part.rows]):
        assert len(set(test_part.is_public[groups[test_part.rows] == group])) == 1


@pytest.mark.parametrize("count", [0, 1])
def test_a_test_part_that_cannot_be_halved(catalogue: Catalogue, count: int) -> None:
    codes = np.zeros(len(catalogue), dtype=np.int8)
    codes[:count] = 2
    with pytest.raises(NotEnoughData, match=f"has {count} different products") as caught:
        HeldOutPart.of(catalogue, Split(codes), seed=0)
    assert "split.test" in caught.value.hint


def test_a_test_part_without_labels(drawn: Path, tmp_path: Path) -> None:
    table = pl.read_csv(drawn / "train.csv", infer_schema=False)
    is_first = pl.int_range(pl.len()) < 10
    table.with_columns(pl.when(~is_first).then(pl.col(r"^attr_\d+$"))).write_csv(tmp_path / "train.csv")
    names = (drawn / "category_attributes.parquet").read_bytes()
    (tmp_path / "category_attributes.parquet").write_bytes(names)
    catalogue = open_catalogue(tmp_path, images=drawn / "train_images")
    codes = np.where(np.arange(len(catalogue)) < 10, 2, 0).astype(np.int8)
    with pytest.raises(NotEnoughData, match="no label"):
        HeldOutPart.of(catalogue, Split(codes), seed=0)


def test_rows_are_compared_with_the_best(test_part: HeldOutPart, make_result: MakeResult) -> None:
    results = [make_result("fair", 0.6), make_result("perfect", 1.0), make_result("poor", 0.2)]
    rows = {row.name: row for row in rank(test_part, results, seed=0)}
    best = rows["perfect"]
    assert best.is_best
    assert not rows["fair"].is_best
    assert best.behind is not None
    assert (best.behind.mean, best.behind.interval) == (0, (0, 0))
    assert best.score == best.public == best.private == 1
    answers = [test_part.grade(each.scored.answers) for each in results[1::-1] if each.scored]
    expected = paired_difference(answers[:1], answers[1:], num_resamples=NUM_RESAMPLES)
    assert rows["fair"].behind == expected
    assert rows["poor"].score < rows["fair"].score < 1
    low, high = rows["fair"].interval
    assert low < rows["fair"].score < high


def test_halves_are_scored_separately(test_part: HeldOutPart, make_result: MakeResult) -> None:
    result = make_result("public")
    assert result.scored is not None
    result.scored.answers[~test_part.is_public] = -1
    (row,) = rank(test_part, [result], seed=0)
    assert (row.public, row.private) == (1, 0)
    assert 0 < row.score < 1


def test_approaches_come_in_the_papers_order(test_part: HeldOutPart, make_result: MakeResult) -> None:
    results = [
        make_result("both", 0.9, kind="ensemble"),
        make_result("b", 0.8),
        make_result("hash", 0.3, kind="search"),
        make_result("a", 0.7),
    ]
    assert [row.name for row in rank(test_part, results, seed=0)] == ["hash", "b", "a", "both"]


def test_failed_rows_have_no_score(
    test_part: HeldOutPart, split: Split, make_result: MakeResult
) -> None:
    board = build_leaderboard(
        test_part, split, [make_result("bad", None), make_result("good", 0.9)], is_nano=False
    )
    assert [row.name for row in board.failed] == ["bad"]
    assert isnan(board.failed[0].score)
    assert board.best is not None
    assert board.best.name == "good"
    assert board.num_public + board.num_private == len(test_part.rows)
    assert board.num_labels == (test_part.labels >= 0).sum()
    none = build_leaderboard(test_part, split, [make_result("bad", None)], is_nano=False)
    assert none.best is None
    assert none.baseline == board.baseline > 0


@pytest.mark.parametrize(
    ("figures", "front"),
    [
        ({"a": (0.5, 1), "b": (0.9, 9)}, {"a", "b"}),
        ({"a": (0.5, 1), "b": (0.9, 1)}, {"b"}),
        ({"a": (0.5, 1), "b": (0.5, 2)}, {"a"}),
        ({"a": (0.5, 3), "b": (0.7, 2), "c": (0.2, 1)}, {"b", "c"}),
        ({"a": (None, 3)}, set()),
    ],
)
def test_the_pareto_front(
    test_part: HeldOutPart,
    make_result: MakeResult,
    figures: dict[str, tuple[float | None, float]],
    front: set[str],
) -> None:
    results = [make_result(name, skill, ms) for name, (skill, ms) in figures.items()]
    rows = [
        row if row.error else replace(row, score=figures[row.name][0])
        for row in rank(test_part, results, seed=0)
    ]
    assert pareto_front(rows) == front
