"""Taxonomies: read from files, completed by the table, made from the table alone."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.values import read_taxonomy, write_attribute_list
from facetry.errors import CatalogueError, FacetryError, TaxonomyError
from facetry.taxonomy import Taxonomy

Write = Callable[[str], Path]

TAXONOMY = Taxonomy.of({"Shirts": {"color": ["red", "blue"], "fit": []}})


def test_an_attribute_list_survives_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "category_attributes.parquet"
    write_attribute_list(TAXONOMY, path)
    assert read_taxonomy(path).declared() == {"Shirts": {"color": [], "fit": []}}


@pytest.mark.parametrize(("name", "text"), [("t.yaml", "to_yaml"), ("t.json", "to_json")])
def test_a_taxonomy_file_is_read_by_its_ending(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(getattr(TAXONOMY, text)())
    assert read_taxonomy(tmp_path / name) == TAXONOMY


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"Category": ["A"], "attributes": [["x"]]}, "lacks the column 'Attribute_list'"),
        ({"Category": ["A", "A"], "Attribute_list": [["x"], ["y"]]}, "names 'A' twice"),
        ({"Category": ["A"], "Attribute_list": [["x", "y", "x"]]}, "names 'x' twice"),
        ({"Category": ["A", "B"], "Attribute_list": [["x"], None]}, "'B' has no attribute"),
    ],
)
def test_a_faulty_attribute_list_is_refused(
    tmp_path: Path, frame: dict[str, list[object]], said: str
) -> None:
    pl.DataFrame(frame).write_parquet(tmp_path / "list.parquet")
    with pytest.raises(TaxonomyError, match=said):
        read_taxonomy(tmp_path / "list.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.parquet", b"no"), ("t.yaml", b"Caf\xe9: 1"), ("t.json", b"{"), ("none.yaml", None)],
)
def test_an_unreadable_taxonomy_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FacetryError):
        read_taxonomy(tmp_path / name)


def test_the_table_completes_an_attribute_list(write: Write) -> None:
    table = write(
        "id,Category,attr_1,attr_2,attr_3\n1,Shirts,red,slim,dummy\n"
        "2,Tops & Tunics,red,,v\n3,Shirts,blue,nan,\n4,Hats,red,,\n"
    )
    assert open_catalogue(table).taxonomy.declared() == {
        "Shirts": {"color": ["blue", "red"], "fit": ["slim"]},
        "Tops & Tunics": {"color": ["red"], "fit": [], "neck": ["v"]},
    }


def test_a_given_taxonomy_is_kept_whatever_the_table_holds(write: Write) -> None:
    catalogue = open_catalogue(
        write("id,Category,attr_1,attr_2\n1,Shirts,green,slim\n2,Shirts,red,\n"), taxonomy=TAXONOMY
    )
    assert catalogue.taxonomy == TAXONOMY
    assert catalogue.labels.tolist() == [[-1, -1], [1, -1]]


def test_a_table_needs_no_taxonomy(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Category,attr_1,attr_2\n1,Tops,,v\n2,Shirts,red,\n3,Empty,,\n")
    assert open_catalogue(tmp_path / "t.csv").taxonomy.declared() == {
        "Shirts": {"attr_1": ["red"]},
        "Tops": {"attr_2": ["v"]},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,Category\n1,A\n", "names no attributes"),
        ("id,Category,attr_1\n1,A,\n", "has no labels"),
    ],
)
def test_a_table_without_labels_needs_a_taxonomy(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CatalogueError, match=said):
        open_catalogue(tmp_path / "t.csv")


def test_an_own_taxonomy_can_be_given_again(tmp_path: Path) -> None:
    """A category that lacks attr_1 must not have its other slots moved."""
    (tmp_path / "t.csv").write_text("id,Category,attr_1,attr_2\n1,Tops,,v\n2,Shirts,red,slim\n")
    own = open_catalogue(tmp_path / "t.csv")
    again = open_catalogue(tmp_path / "t.csv", taxonomy=own.taxonomy)
    assert [each.labels for each in again.products()] == [each.labels for each in own.products()]
    assert own.products()[0].labels == {"attr_2": "v"}


def test_columns_can_be_called_like_attributes(write: Write) -> None:
    table = write("id,Category,neck,Color\n1,Shirts,v,red\n2,Tops & Tunics,v,red\n")
    products = open_catalogue(table).products()
    assert [each.labels for each in products] == [{"color": "red"}, {"color": "red", "neck": "v"}]


def test_slots_win_over_a_column_that_happens_to_be_called_like_an_attribute(write: Write) -> None:
    table = write("id,Category,fit,attr_1,attr_2\n1,Shirts,32 inch,red,slim\n")
    assert open_catalogue(table).products()[0].labels == {"color": "red", "fit": "slim"}
