"""A finished run that is repeated predicts only what has changed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.batch.workloads import (
    Lines,
    Seeing,
    draw_photo,
    make_table,
    outcome,
    run,
    write_table,
)

NUM_ROWS = 57
REUSED = "Rows that have not changed since the last run are reused."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table that has been predicted."""
    folder = make_table(tmp_path, NUM_ROWS)
    run(folder)
    return folder


def assert_as_if_new(folder: Path) -> None:
    """The folder has the same files as a run into a new one."""
    run(folder, out="new")
    assert outcome(folder / "out") == outcome(folder / "new")


def test_nothing_has_changed(folder: Path) -> None:
    before = outcome(folder / "out")
    predictor, lines = Seeing(), Lines()
    summary = run(folder, predictor, reporter=lines)
    assert predictor.predicted == [3]  # its photo is missing, so whether it has changed is unknown
    assert (summary.num_reused, summary.num_new) == (NUM_ROWS - 1, 1)
    assert summary.problems == {"file not found": 1, "not an image": 1}
    assert lines.said == [REUSED]
    assert outcome(folder / "out") == before


def change_photo(folder: Path) -> None:
    draw_photo(folder / "photos" / "12.png", 999)


def mend_photos(folder: Path) -> None:
    draw_photo(folder / "photos" / "3.png", 3)
    draw_photo(folder / "photos" / "5.png", 5)


def change_text(folder: Path) -> None:
    write_table(folder, range(NUM_ROWS), id_20="another title")


def change_category(folder: Path) -> None:
    table = pl.read_csv(folder / "table.csv")
    other = pl.when(pl.col("id") == 21).then(pl.lit("Sarees")).otherwise("Category")
    table.with_columns(other.alias("Category")).write_csv(folder / "table.csv")


def lose_photo(folder: Path) -> None:
    (folder / "photos" / "30.png").unlink()


def table_of(ids: Sequence[int]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for each in {*ids} - {*range(NUM_ROWS)}:
            draw_photo(folder / "photos" / f"{each}.png", each)
        write_table(folder, ids)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_photo, {12}),
        (mend_photos, {3, 5}),
        (change_text, {20}),
        (change_category, {21}),
        (lose_photo, {30}),
        (table_of([*range(NUM_ROWS), 100, 101]), {100, 101}),
        (table_of([100, *range(NUM_ROWS)]), {100}),
        (table_of([*range(15), 100, *range(25, NUM_ROWS)]), {100}),
        (table_of([*reversed(range(NUM_ROWS))]), set()),
        (table_of([*range(8)]), set()),
    ],
)
def test_only_what_changed_is_predicted(
    folder: Path, change: Callable[[Path], None], expected: set[int]
) -> None:
    change(folder)
    predictor = Seeing()
    summary = run(folder, predictor)
    assert set(predictor.predicted) - {3} == expected - {3}
    assert summary.num_reused == summary.num_products - len(set(predictor.predicted))
    assert_as_if_new(folder)


def test_a_stopped_run_reuses_the_previous_rows(folder: Path) -> None:
    table_of([100, *range(NUM_ROWS)])(folder)
    change_photo(folder)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, reporter=Lines(25, stop))
    table_of([100, 101, *range(NUM_ROWS)])(folder)  # changes again before it goes on
    predictor = Seeing()
    run(folder, predictor)
    assert set(predictor.predicted) == {3, 101}
    assert_as_if_new(folder)


def test_a_damaged_part_is_predicted_again(folder: Path) -> None:
    part = sorted((folder / "out" / "parts").iterdir())[2]
    part.write_bytes(b"nothing")
    predictor, lines = Seeing(), Lines()
    run(folder, predictor, reporter=lines)
    assert set(predictor.predicted) == {3, *range(20, 30)}
    assert lines.said == [f"{part.name} is missing or damaged: its rows are predicted again.", REUSED]
    assert_as_if_new(folder)


def test_failed_products_are_tried_again(folder: Path) -> None:
    run(folder, Seeing(culprits=[12, 13]), out="failing")
    predictor = Seeing()
    assert run(folder, predictor, out="failing").num_new == 3
    assert set(predictor.predicted) == {3, 12, 13}
    assert_as_if_new(folder)


def test_another_model_predicts_everything(folder: Path) -> None:
    predictor, lines = Seeing(), Lines()
    summary = run(folder, predictor, model="two", reporter=lines)
    assert (summary.num_reused, summary.num_new) == (0, NUM_ROWS)
    assert lines.said == [f"Another model filled {folder / 'out'}: everything is predicted anew."]
    assert_as_if_new(folder)


def test_ids_that_become_texts_are_known(folder: Path) -> None:
    (folder / "photos" / "a.png").write_bytes((folder / "photos" / "0.png").read_bytes())
    with (folder / "table.csv").open("a") as table:
        table.write("a,Sarees,product a\n")
    predictor = Seeing()
    run(folder, predictor)
    assert set(predictor.predicted) == {"3", "a"}
    assert_as_if_new(folder)
