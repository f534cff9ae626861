"""DataFrames are tables: of any library, with the caller's own columns, and back as the same kind."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.frames import is_frame, like, write_frame
from facetry.catalogue.given import as_catalogue, make_columns
from facetry.catalogue.source import Columns, Constant
from facetry.errors import CatalogueError, SettingError

CELLS = {"sku": ["a1", "a2"], "type": ["Tops", "Tops"], "colour": ["red", None]}
COLUMNS = Columns(id="sku", category="type", attributes={"colour": "colour"})
KINDS = {
    "polars": pl.DataFrame(CELLS),
    "lazy": pl.LazyFrame(CELLS),
    "pandas": pd.DataFrame(CELLS),
    "categories": pd.DataFrame(CELLS).astype("category"),
    "pyarrow": pa.table(CELLS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_opens_as_the_same_catalogue_whatever_the_library(kind: str) -> None:
    opened = open_catalogue(KINDS[kind], columns=COLUMNS)
    assert [(each.id, each.category, dict(each.labels)) for each in opened.products()] == [
        ("a1", "Tops", {"colour": "red"}),
        ("a2", "Tops", {}),
    ]
    assert opened.fingerprint == open_catalogue(KINDS["polars"], columns=COLUMNS).fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_out_is_of_the_kind_that_came_in(kind: str) -> None:
    made = like(KINDS[kind], pl.DataFrame({"id": [1], "value": ["red"]}))
    assert type(made) is type(KINDS[kind])


@pytest.mark.parametrize("given", ["shop.csv", Path("shop"), None, [1], {"a": [1]}, pl.Series([1])])
def test_what_is_no_frame(given: Any) -> None:
    assert not is_frame(given)
    assert isinstance(like(given, pl.DataFrame({"id": [1]})), pl.DataFrame)


def test_equal_frames_are_one_file() -> None:
    first, second = write_frame(KINDS["polars"]), write_frame(KINDS["lazy"])
    other = write_frame(pl.DataFrame({**CELLS, "colour": ["red", "blue"]}))
    assert first == second != other
    assert first.read_bytes()[:4] == b"PAR1"


def test_a_column_of_several_types_is_refused() -> None:
    with pytest.raises(CatalogueError, match="cannot be read as a table"):
        write_frame(pd.DataFrame({"id": [1, "a"]}))


def test_columns_are_named_as_arguments() -> None:
    columns = make_columns(
        {"id": "sku", "category": {"constant": "Tops"}, "targets": {"color": "colour"}}
    )
    assert columns == Columns(
        id="sku", category=Constant(constant="Tops"), attributes={"color": "colour"}
    )
    assert make_columns({}) is None


@pytest.mark.parametrize(
    "names", [{"identifier": "sku"}, {"id": 3}, {"category": {"constants": "Tops"}}]
)
def test_columns_that_cannot_be(names: Any) -> None:
    with pytest.raises(SettingError) as caught:
        make_columns(names)
    assert "id, category, targets, photo and text" in caught.value.hint


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(CatalogueError) as caught:
        as_catalogue(KINDS["pandas"], columns={"id": "skuu", "category": "type"})
    assert "'skuu': Did you mean 'sku'?" in caught.value.hint


def test_an_open_catalogue_has_its_columns_already() -> None:
    opened = open_catalogue(KINDS["polars"], columns=COLUMNS)
    assert as_catalogue(opened) is opened
    with pytest.raises(SettingError, match="has its photo folder"):
        as_catalogue(opened, columns={"id": "sku"})


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame(CELLS)
    with pytest.raises(CatalogueError, match="two columns of one name"):
        is_frame(pd.concat([frame, frame], axis=1))


@pytest.mark.parametrize("given", [None, [{"sku": 1}], {"sku": [1]}])
def test_neither_path_nor_frame(given: Any) -> None:
    with pytest.raises(CatalogueError, match=f"not as {type(given).__name__}") as caught:
        as_catalogue(given)
    assert "DataFrame" in caught.value.hint
