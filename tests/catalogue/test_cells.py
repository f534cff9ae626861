"""Reading labels from cells: words for nothing, aliases, several values."""

import polars as pl
import pytest

from facetry.catalogue.cells import CellReader
from facetry.catalogue.source import Values
from facetry.taxonomy import Taxonomy


def read(cells: list[str | None], *, states: bool = False, **values: object) -> list[str | None]:
    frame = pl.DataFrame({"colour": cells}, {"colour": pl.String})
    reader = CellReader(values=Values.model_validate(values))
    read = reader.state if states else reader.label
    return frame.select(read(frame.schema, "colour")).to_series().to_list()


@pytest.mark.parametrize("word", ["NA", "n/a", "#N/A", "Null", "NONE", "-", " ? ", "unknown", "", None])
def test_words_for_nothing_are_no_labels(word: str | None) -> None:
    assert read([word, "red"]) == [None, "red"]
    assert read([word, "red"], states=True) == ["blank", "known"]


def test_the_catalogue_says_which_words_mean_nothing() -> None:
    assert read(["none", "keine"], missing_values=["keine"]) == ["none", None]
    assert read(["nan", "dummy_value"], missing_values=[]) == [None, None]  # never labels


def test_a_product_may_have_no_such_attribute() -> None:
    assert read(["Not applicable", "red"], states=True) == ["not applicable", "known"]
    assert read(["no collar"], states=True, not_applicable="no collar") == ["not applicable"]
    assert read(["no collar"], not_applicable="no collar") == [None]


def test_a_value_of_the_taxonomy_is_no_word_for_nothing() -> None:
    frame = pl.DataFrame({"lining": ["none", "n/a", "silk"]})
    reader = CellReader.of(Values(), Taxonomy.of({"Coats": {"lining": ["none", "silk"]}}))
    assert frame.select(reader.label(frame.schema, "lining")).to_series().to_list() == [
        "none",
        None,
        "silk",
    ]


def test_spellings_become_one_value() -> None:
    assert read(["Black", "BLACK ", "Écru"], normalise="case") == ["black", "black", "écru"]
    assert read(["Écru", "E\u0301cru"], normalise=["case", "accents"]) == ["ecru", "ecru"]
    assert read(["E\u0301cru"]) == ["Écru"]  # composed, always
    assert read(["Tee", "Polo"], normalise="case", aliases={"tee": "T-Shirt"}) == ["t-shirt", "polo"]


def test_an_alias_may_be_for_one_column() -> None:
    aliases = {"colour": {"navy": "blue"}, "neck": {"red": "round"}}
    assert read(["navy", "red"], aliases=aliases) == ["blue", "red"]


@pytest.mark.parametrize(("several", "label"), [("first", "blue"), ("drop", None)])
def test_several_values_in_a_cell(several: str, label: str | None) -> None:
    cells = ["blue, white", "blue/white", "red", "n/a"]
    options = {"separator": [",", "/"], "several": several}
    assert read(cells, **options) == [label, label, "red", None]
    states = read(cells, states=True, **options)
    assert states[2:] == ["known", "blank"]
    assert states[0] == ("known" if label else "several")


def test_a_declared_value_with_a_separator_stays_whole() -> None:
    frame = pl.DataFrame({"colour": ["black/white", "red/white"]})
    taxonomy = Taxonomy.of({"Coats": {"colour": ["black/white", "red"]}})
    reader = CellReader.of(Values(separator=("/",)), taxonomy)
    assert frame.select(reader.label(frame.schema, "colour")).to_series().to_list() == [
        "black/white",
        "red",
    ]
    assert frame.select(reader.holds_several(frame.schema, "colour")).to_series().to_list() == [
        False,
        True,
    ]
