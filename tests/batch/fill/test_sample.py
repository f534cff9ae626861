"""Cells are drawn at random of what a fill has filled and left open, and none of them twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from facetry.batch.fill.sample import draw_cells, to_sample, writing_sample
from facetry.catalogue.catalogue import Catalogue
from facetry.confidence.calibration import promises_of
from facetry.confidence.decide import decide
from facetry.confidence.fill_audit import FillAudit, Promised
from facetry.errors import CatalogueError, NotEnoughData, PredictorMismatch
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictions
from facetry.product import Product
from tests.batch.fill.shop import COLUMNS, HEADER, TAXONOMY, Sure, fill, open_shop, undo
from tests.confidence.audited import add_answers, calibrate, make_model

NUM_ROWS = 800


@dataclass
class Deciding(Sure):
    """Predicts as `Sure` does, and decides under the promises of a model."""

    model: ModelFolder

    def __post_init__(self) -> None:
        super().__init__()
        self.rules = promises_of(self.model, 0.95).rules

    def predict(self, products: Sequence[Product]) -> Predictions:
        return decide(super().predict(products), self.rules)


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    """A model that promises 0.95 for the colour of tees alone."""
    return make_model(tmp_path / "model", TAXONOMY, num_labels=[200, 0, 0])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Tees without labels, all with the same photo."""
    shop = tmp_path / "shop"
    shop.mkdir()
    rows = [(f"{row:05}", "Tees", "", "", "1") for row in range(NUM_ROWS)]
    frame = pl.DataFrame(rows, schema=list(HEADER), orient="row").with_columns(photo=pl.lit("001.png"))
    frame.write_csv(shop / "table.csv")
    return shop / "table.csv"


def open_tees(table: Path):
    return open_shop(table, columns={**COLUMNS, "photo": "photo"})


def fill_under_promise(model: ModelFolder, table: Path) -> Path:
    out = table.with_name("filled.csv")
    promises = promises_of(model, 0.95)
    fill(
        table,
        out,
        Deciding(model),
        catalogue=open_tees(table),
        model=model.fingerprint_with(promises.fact),
        promise=Promised.of(model, promises),
    )
    return out


def test_a_sample(model: ModelFolder, table: Path, tmp_path: Path) -> None:
    filled = fill_under_promise(model, table)
    drawn = draw_cells(model, filled, 10_000)
    cells = drawn.cells
    counts = dict(cells.group_by("attribute", "action").len().select("attribute", "len").iter_rows())
    assert counts.keys() == {"color", "neck"}
    assert all(0.07 < count / NUM_ROWS < 0.13 for count in counts.values())
    assert set(cells["value"]) == {"black", "polo"}
    assert cells["model"].unique().to_list() == [model.plain_fingerprint]
    assert draw_cells(model, filled, 10_000).cells["cell"].equals(cells["cell"])

    sample = to_sample(cells, open_tees(table))
    assert sample.columns == ["cell", "row", "id", "category", "attribute", "photo", "values", "answer"]
    assert set(sample["values"]) == {
        "black | red | white | not applicable | not visible",
        "polo | round | not applicable | not visible",
    }
    assert all(row == int(id_) + 2 for row, id_ in sample.select("row", "id").iter_rows())
    assert Path(sample["photo"][0]).is_file()
    for name in ("sample.csv", "sample.xlsx"):
        with writing_sample(tmp_path / name, sample):
            assert not (tmp_path / name).exists()
    assert pl.read_excel(tmp_path / "sample.xlsx")["cell"].equals(sample["cell"])


def test_no_cell_is_drawn_twice(model: ModelFolder, table: Path) -> None:
    filled, audit = fill_under_promise(model, table), FillAudit.of(model)
    drawn = [draw_cells(model, filled, 50)]
    audit.add_drawn(drawn[0].cells)
    drawn.append(draw_cells(model, filled, 10_000))
    audit.add_drawn(drawn[1].cells)
    assert drawn[0].num_left == drawn[1].cells.height > 50
    assert not set(drawn[0].cells["cell"]) & set(drawn[1].cells["cell"])
    assert draw_cells(model, filled, 10_000).cells.is_empty()
    assert draw_cells(model, fill_under_promise(model, table), 10_000).cells.is_empty()


def with_rows(filled: Path, num_rows: int) -> Catalogue:
    """The catalogue of so many rows of a filled file, and one of another product."""
    rows = pl.read_csv(filled, infer_schema=False)
    other = rows.tail(1).with_columns(pl.lit("other").alias(rows.columns[0]))
    table = filled.with_name("part.csv")
    pl.concat([rows.head(num_rows), other]).write_csv(table)
    return open_tees(table)


def test_products_that_the_catalogue_does_not_have_are_not_asked_about(
    model: ModelFolder, table: Path
) -> None:
    filled = fill_under_promise(model, table)
    every = draw_cells(model, filled, 10_000)
    drawn = draw_cells(model, filled, 10_000, with_rows(filled, NUM_ROWS // 2))
    assert drawn.num_gone > 0
    assert drawn.cells.height + drawn.num_gone == every.cells.height
    assert drawn.cells["id"].cast(pl.Int64).max() < NUM_ROWS // 2
    with pytest.raises(CatalogueError, match="none of the products"):
        draw_cells(model, filled, 10_000, with_rows(filled, 0))


def test_fewer_are_drawn_where_the_answers_were_good(model: ModelFolder, table: Path) -> None:
    add_answers(model, 0, [None] * 800)
    cells = draw_cells(model, fill_under_promise(model, table), 10_000).cells
    counts = dict(cells.group_by("attribute").len().iter_rows())
    assert counts["color"] < 0.02 * NUM_ROWS < 0.07 * NUM_ROWS < counts["neck"]


def test_a_withdrawn_head_is_left_open(model: ModelFolder, table: Path) -> None:
    calibrate(model, [200, 200, 0])
    add_answers(model, 0, ["red"] * 20)
    filled = pl.read_csv(fill_under_promise(model, table), infer_schema=False)
    assert set(filled["colour"]) == {""}
    assert set(filled["neck line"]) == {"polo"}


def test_what_no_sample_can_be_drawn_of(model: ModelFolder, table: Path) -> None:
    plain = table.with_name("plain.csv")
    fill(table, plain, catalogue=open_tees(table))
    with pytest.raises(NotEnoughData, match="was filled without --precision"):
        draw_cells(model, plain, 10)
    with pytest.raises(NotEnoughData, match="has no record of a fill"):
        draw_cells(model, table, 10)
    filled = fill_under_promise(model, table)
    calibrate(model, [200, 0, 0], confidence=0.6)
    with pytest.raises(PredictorMismatch, match="calibrated again"):
        draw_cells(model, filled, 10)


def test_what_earlier_fills_wrote_is_said_to_stay(model: ModelFolder, table: Path) -> None:
    filled = fill_under_promise(model, table)
    again = fill(filled, filled, catalogue=open_tees(filled))
    assert f"{NUM_ROWS:,} cells that earlier fills wrote" in again.notes[0]
    assert not fill(filled, filled, catalogue=open_tees(filled), model="two").num_written


def test_what_was_taken_back_is_not_drawn(model: ModelFolder, table: Path) -> None:
    filled = fill_under_promise(model, table)
    undo(table, filled)
    with pytest.raises(NotEnoughData, match="nothing to ask about"):
        draw_cells(model, filled, 10)
