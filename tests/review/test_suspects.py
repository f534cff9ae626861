"""Labels that are likely wrong are asked about: confirmed, or replaced by a repair."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.errors import SettingError
from facetry.review.arranging import find_suspects
from facetry.review.outcome import repairs_of
from facetry.review.recorder import Recorded, Unsure
from facetry.review.store.arrangement import Arrangement, KnownCell
from facetry.review.suspects import by_audit, by_model
from facetry.service.database import Database
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy
from tests.review.stored import REVIEW, SetClock, Stored, say
from tests.service.fakes import FakePredictor, fake_folder

TAXONOMY = Taxonomy.of({"Sarees": {"colour": ["blue", "red"]}})
NUM = 40


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    """Forty red sarees; of the first three the model says blue."""
    database = Database.open(database_url)
    found = Stored.of(database, SetClock())
    known = {"stream": "", "is_open": False, "known": "red", "value": "red", "source": "table"}
    found.add(range(3), predicted="blue", **known)
    found.add(range(3, NUM), predicted="red", **known)
    yield found
    database.close()


def recorded(*doubted: float) -> Recorded:
    chances = np.full((NUM, 1), 0.95, dtype=np.float32)
    chances[: len(doubted), 0] = doubted
    unsure = Unsure(margin=chances, entropy=chances, of_label=chances)
    rows = {f"P{row}": row for row in range(NUM)}
    return Recorded(rows=rows, unsure=unsure, features=np.empty((NUM, 0), dtype=np.float16))


def known(row: int, predicted: str) -> KnownCell:
    return KnownCell(row, 0, f"P{row}", "red", predicted)


CELLS = [known(row, "blue" if row < 3 else "red") for row in range(NUM)]


def test_what_a_model_that_seldom_disagrees_finds_improbable_is_suspect() -> None:
    found = dict(by_model(recorded(0.001, 0.3, 0.02), CELLS, TAXONOMY, learned=()))
    assert {cell.row for cell in found} == {0, 2}
    assert found[CELLS[0]] == pytest.approx(0.001)


def test_what_the_model_has_learned_from_is_no_suspect() -> None:
    found = dict(by_model(recorded(0.001, 0.3, 0.02), CELLS, TAXONOMY, learned={"P0"}))
    assert {cell.row for cell in found} == {2}


def findings(folder: Path, *rows: tuple[str, str, str, float]) -> Path:
    folder.mkdir()
    columns = {
        "id": pl.String,
        "attribute": pl.String,
        "value": pl.String,
        "score": pl.Float64,
    }
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        kind=pl.lit("likely wrong label")
    )
    other = frame.head(1).with_columns(kind=pl.lit("rare value"), id=pl.lit("P9"))
    pl.concat([frame, other]).write_parquet(folder / "findings.parquet")
    return folder


def test_what_an_audit_found_is_suspect(tmp_path: Path) -> None:
    rows = [("P5", "red"), ("P6", "blue"), ("P77", "red")]  # P6 was corrected since
    folder = findings(tmp_path / "audit", *((id_, "colour", value, 0.1) for id_, value in rows))
    found = dict(by_audit(folder, CELLS, TAXONOMY))
    assert {(cell.row, score) for cell, score in found.items()} == {(5, 0.1)}


def test_a_folder_without_an_audit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no audit"):
        list(by_audit(tmp_path, CELLS, TAXONOMY))


def suspect(stored: Stored, tmp_path: Path) -> None:
    """Have people asked about what the model doubts, which has learned from another product."""
    split = pl.DataFrame({"id": ["other"], "part": ["train"]})
    split.write_parquet(tmp_path / "split.parquet")
    loaded = LoadedModel(
        name="model",
        folder=fake_folder(tmp_path, TAXONOMY),
        predictor=_Sarees(),
        fingerprint="1" * 12,
    )
    store = Arrangement(stored.reviews.database)
    find_suspects(store, REVIEW, loaded, recorded(0.001, 0.3, 0.02), None)


class _Sarees(FakePredictor):
    def __init__(self) -> None:
        super().__init__()
        self.taxonomy = TAXONOMY


def test_suspects_are_asked_about_the_least_probable_first(stored: Stored, tmp_path: Path) -> None:
    suspect(stored, tmp_path)
    tasks = stored.take("anna", 3)
    assert [task.row for task in tasks] == [0, 2]
    (cell,) = tasks[0].open_cells
    assert (cell.stream, cell.known, cell.predicted, cell.is_blind) == ("label", "red", "blue", False)


def test_the_same_value_confirms_a_label_and_another_repairs_it(stored: Stored, tmp_path: Path) -> None:
    suspect(stored, tmp_path)
    stored.answer("anna", say(0, "red"), say(2, "blue"))
    confirmed, repaired = (stored.task(row).cells[0] for row in (0, 2))
    assert (confirmed.value, confirmed.is_open) == ("red", False)
    assert (repaired.value, repaired.source) == ("blue", "person")
    repairs = list(repairs_of(stored.reviews.decisions(REVIEW), TAXONOMY))
    assert [(each.id, each.old, each.new) for each in repairs if each.old != each.new] == [
        ("P2", "red", "blue")
    ]


def test_who_has_confirmed_a_label_is_not_asked_again(stored: Stored, tmp_path: Path) -> None:
    suspect(stored, tmp_path)
    stored.answer("anna", say(0, "red"))
    suspect(stored, tmp_path)
    assert [task.row for task in stored.take("anna", 3)] == [2]


def test_without_knowing_what_a_model_has_learned_from_it_suspects_nothing(
    stored: Stored, tmp_path: Path
) -> None:
    loaded = LoadedModel(
        name="model",
        folder=fake_folder(tmp_path, TAXONOMY),
        predictor=_Sarees(),
        fingerprint="1" * 12,
    )
    find_suspects(Arrangement(stored.reviews.database), REVIEW, loaded, recorded(0.001), None)
    assert stored.take("anna") == []
