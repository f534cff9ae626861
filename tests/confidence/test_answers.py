"""Samples that people have filled in are read as they are meant; what cannot be read is named."""

from pathlib import Path

import polars as pl
import pytest

from facetry.catalogue.catalogue import assemble
from facetry.catalogue.repairs.file import read_repairs
from facetry.catalogue.source import Source
from facetry.confidence.answers import read_answers, write_labels
from facetry.confidence.fill_audit import FillAudit
from facetry.errors import CatalogueError
from facetry.models.folder import ModelFolder
from facetry.taxonomy import Taxonomy
from tests.confidence.audited import add_answers, make_model

TAXONOMY = Taxonomy.of({"Sarees": {"border": ["Café", "solid", "zari"], "pattern": ["solid", "woven"]}})


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    """A model with two cells of each head drawn."""
    model = make_model(tmp_path / "model", TAXONOMY, num_labels=[200, 200])
    for head in range(2):
        add_answers(model, head, [None, None])
    return model


def fill_in(path: Path, answers: dict[str, str]) -> Path:
    rows = pl.DataFrame({"Cell": list(answers), "id": "1", "Answer": list(answers.values())})
    rows.write_csv(path, include_bom=True)
    return path


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("zari", "zari"),
        ("  ZARI ", "zari"),
        ("cafe", "Café"),
        ("Not  Applicable", "not applicable"),
        ("not visible", "not visible"),
    ],
)
def test_spellings(model: ModelFolder, tmp_path: Path, text: str, answer: str) -> None:
    found = read_answers(fill_in(tmp_path / "sample.csv", {"c0": text, "c1": ""}), FillAudit.of(model))
    assert found.answers["answer"].to_list() == [answer]
    assert found.num_blank == 1


def test_spellings_that_the_catalogue_has_aliases_for(model: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("id,type,edge\n1,Sarees,zari\n")
    source = Source.model_validate(
        {
            "table": tmp_path / "table.csv",
            "columns": {"category": "type", "attributes": {"border": "edge"}},
            "values": {"aliases": {"edge": {"Gold thread": "zari"}}},
        }
    )
    catalogue = assemble(source, TAXONOMY, is_closed=True)
    sample = fill_in(tmp_path / "sample.csv", {"c0": "gold Thread"})
    found = read_answers(sample, FillAudit.of(model), catalogue=catalogue)
    assert found.answers["answer"].to_list() == ["zari"]


@pytest.mark.parametrize(
    ("cell", "text", "fault"),
    [
        ("c0", "zarri", r"row 2: 'zarri' is no value of Sarees / border\. Did you mean 'zari'\?"),
        ("c2", "zari", r"row 2: 'zari' is no value of Sarees / pattern"),
        ("c9", "zari", r"row 2: no cell 'c9' was drawn with this model"),
    ],
)
def test_what_is_no_answer(model: ModelFolder, tmp_path: Path, cell: str, text: str, fault: str) -> None:
    file = fill_in(tmp_path / "sample.csv", {cell: text, "c1": "solid"})
    with pytest.raises(CatalogueError, match=fault) as error:
        read_answers(file, FillAudit.of(model))
    assert "nothing was stored" in error.value.hint


def test_a_file_that_is_no_sample(model: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("cell,value\nc0,zari\n")
    with pytest.raises(CatalogueError, match="lacks the column 'answer'"):
        read_answers(tmp_path / "other.csv", FillAudit.of(model))


def test_labels_that_people_gave_become_repairs_once(model: ModelFolder, tmp_path: Path) -> None:
    answers = {"c0": "zari", "c1": "not visible", "c2": "woven"}
    audit, repairs = FillAudit.of(model), tmp_path / "repairs.csv"
    found = read_answers(fill_in(tmp_path / "sample.csv", answers), audit, "asha")
    audit.add_answers(found.answers)
    assert [write_labels(repairs, FillAudit.of(model), list(answers)) for _ in range(2)] == [2, 0]
    rows = read_repairs(repairs)
    assert rows.select("id", "attribute", "old", "new", "who", "chosen").rows() == [
        ("c0", "border", None, "zari", "asha", "random"),
        ("c2", "pattern", None, "woven", "asha", "random"),
    ]


def test_a_cell_with_two_answers_is_named(model: ModelFolder, tmp_path: Path) -> None:
    file = tmp_path / "sample.csv"
    file.write_text("cell,answer\nc0,zari\nc1,\nc0,ZARI\nc0,solid\n")
    with pytest.raises(CatalogueError, match=r"row 5: 'solid', but the same cell has 'zari' in row 2"):
        read_answers(file, FillAudit.of(model))
