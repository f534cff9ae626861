"""Catalogues as arrays and as products, and the challenge's real tables."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import CatalogueError
from facetry.taxonomy import NO_LABEL, OFF_LIST, Taxonomy, clean

Write = Callable[[str], Path]

HEADER = "id,Category,len,attr_1,attr_2,attr_3\n"
ROWS = (
    "1,Shirts,2,red,slim,dummy_value\n2,Tops & Tunics,3,red,,v\n"
    '3,Shirts,2,,nan,\n4,Hats,1,red,,\n5,,,red,,\n6,Tops & Tunics,3,"blue\n",wide,round\n'
)


@pytest.fixture
def small(write: Write) -> Catalogue:
    return open_catalogue(write(HEADER + ROWS))


def test_labels_are_indices_into_sorted_values(small: Catalogue) -> None:
    expected = [[0, 0, -1], [1, -1, 1], [-1, -1, -1], [-1, -1, -1], [-1, -1, -1], [0, 0, 0]]
    assert small.labels.tolist() == expected
    assert small.labels.dtype == np.int16
    assert small.category_codes.tolist() == [0, 1, 0, -1, -1, 1]
    assert small.heads[[0, 1, 3]].tolist() == [[0, 1, -1], [2, 3, 4], [-1, -1, -1]]
    assert len(small) == 6


def test_products_have_only_their_known_labels(small: Catalogue) -> None:
    products = small.products()
    assert [each.id for each in products] == [1, 2, 3, 4, 5, 6]
    assert [each.category for each in products[3:5]] == ["Hats", ""]
    assert products[1].labels == {"color": "red", "neck": "v"}
    assert products[5].labels == {"color": "blue", "fit": "wide", "neck": "round"}
    assert not products[2].labels
    assert not products[3].labels
    assert [each.id for each in small.products([4, 0])] == [5, 1]


def test_slots_are_named_by_the_tables_own_list_whatever_the_taxonomy(write: Write) -> None:
    """Another order, an attribute less, a category more, a category less."""
    taxonomy = Taxonomy.of(
        {"Hats": {"brim": ["wide"]}, "Tops & Tunics": {"neck": ["v", "round"], "color": ["red", "blue"]}}
    )
    products = open_catalogue(write(HEADER + ROWS), taxonomy=taxonomy).products()
    assert [dict(each.labels) for each in products] == [
        {},
        {"neck": "v", "color": "red"},
        *[{}] * 3,
        {"neck": "round", "color": "blue"},
    ]


def test_values_off_the_list_stay_labels_but_have_no_code(write: Write) -> None:
    taxonomy = Taxonomy.of({"Shirts": {"color": ["blue"], "fit": ["slim"]}})
    catalogue = open_catalogue(write(HEADER + ROWS), taxonomy=taxonomy)
    assert catalogue.labels.tolist() == [[-1, 0], *[[-1, -1]] * 5]
    products = catalogue.products()
    assert products[0].labels == {"color": "red", "fit": "slim"}
    assert not any(each.labels for each in products[1:])
    assert catalogue.products([2, 0])[1] == products[0]
    assert [each for part in catalogue.stream(4) for each in part] == products


def test_its_own_taxonomy_gives_a_table_the_same_fingerprint(small: Catalogue) -> None:
    again = open_catalogue(small.source.table, taxonomy=small.taxonomy)
    assert again.fingerprint == small.fingerprint


def test_a_catalogue_without_a_photo_folder_can_be_refused(small: Catalogue, drawn: Path) -> None:
    with pytest.raises(CatalogueError, match="--images"):
        small.require_photos()
    open_catalogue(drawn).require_photos()


@pytest.mark.parametrize("num_rows", [1, 4, 100])
def test_a_stream_gives_the_same_products(small: Catalogue, num_rows: int) -> None:
    parts = list(small.stream(num_rows))
    assert [each for part in parts for each in part] == small.products()
    assert max(map(len, parts)) <= num_rows


@pytest.mark.parametrize("slice_rows", [800, 1_000, 100_000])
def test_a_stream_over_many_chunks_keeps_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_rows: int
) -> None:
    monkeypatch.setattr("facetry.catalogue.scan._SLICE_ROWS", slice_rows)
    frame = pl.DataFrame({"id": range(5000), "Category": "A", "attr_1": ["x", "y"] * 2500})
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=700)
    (tmp_path / "repairs.csv").write_text("id,category,attribute,old,new\n4999,A,attr_1,y,x\n")
    for repairs in (None, tmp_path / "repairs.csv"):
        catalogue = open_catalogue(tmp_path / "t.parquet", repairs=repairs)
        assert bool(catalogue.repairs.columns) is bool(repairs)
        products = [each for part in catalogue.stream(999) for each in part]
        assert [each.id for each in products] == list(range(5000))
        assert products == catalogue.products()


def test_a_stream_of_some_rows_ends_with_the_last_of_them(small: Catalogue) -> None:
    some = replace(small, streamed_rows=np.array([False, False, True, False, True]))  # by row number
    assert [each.id for part in some.stream(4) for each in part] == [1, 3]
    assert some.num_rows() == 2


def test_a_table_that_breaks_further_down_says_so(write: Write) -> None:
    good = "".join(f"{number},Shirts,2,red,slim,\n" for number in range(200))
    with pytest.raises(CatalogueError, match="row 202 has 8 cells"):
        list(open_catalogue(write(HEADER + good + "1,Shirts,2,a,b,c,d,e\n")).stream(50))


def test_a_described_catalogue_with_its_own_columns(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    pl.DataFrame(
        {
            "sku": ["001", "002"],
            "type": ["Shirts", "Hats"],
            "image": [["a.jpg", "b.jpg"], ["../c.jpg"]],
            "title": [" A  shirt\n", None],
            "colour": ["red", "blue"],
            "brim": [None, "wide"],
        }
    ).write_parquet(tmp_path / "products.parquet")
    (tmp_path / "catalogue.yaml").write_text(
        "table: products.parquet\nimages: photos\ncolumns: {id: sku, category: type, photo: image, "
        "text: title, attributes: {color: colour, brim: brim}}\n"
    )
    catalogue = open_catalogue(tmp_path)
    shirt, hat = catalogue.products()
    assert catalogue.taxonomy.declared() == {
        "Hats": {"color": ["blue"], "brim": ["wide"]},
        "Shirts": {"color": ["red"]},
    }
    assert (shirt.id, shirt.text, shirt.labels) == ("001", "A shirt", {"color": "red"})
    assert shirt.photos == (tmp_path / "photos" / "a.jpg", tmp_path / "photos" / "b.jpg")
    assert (hat.photos, hat.problem) == ((), "path leaves the image folder")


def test_a_label_in_a_column_that_the_category_lacks_is_ignored(tmp_path: Path) -> None:
    """Slot 0 of Shirts is an attribute without a column: Sarees' column must not fill it."""
    taxonomy = Taxonomy.of({"Sarees": {"border": ["zari"]}, "Shirts": {"color": ["zari"]}})
    (tmp_path / "t.csv").write_text("id,Category,border\n1,Sarees,zari\n2,Shirts,zari\n")
    catalogue = open_catalogue(tmp_path / "t.csv", taxonomy=taxonomy)
    assert catalogue.labels.tolist() == [[0], [-1]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "has no rows"),
        ("1,Shirts,2,red,,\n1,Shirts,2,red,,\n", "id 1 occurs more than once (row 2"),
        ("1,Shirts,2,red,,\n,Shirts,2,red,,\n", "no id (row 3"),
    ],
)
def test_an_unsound_table_is_refused(write: Write, rows: str, said: str) -> None:
    with pytest.raises(CatalogueError) as refusal:
        open_catalogue(write(HEADER + rows)).require_sound()
    assert said in str(refusal.value)


def test_ids_that_only_look_alike_to_a_hash_are_sound(
    small: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pl.Series, "hash", lambda self: pl.Series([7] * len(self), dtype=pl.UInt64))
    small.require_sound()


def test_the_fingerprint_follows_ids_categories_and_labels(write: Write) -> None:
    def fingerprint(rows: str) -> str:
        return open_catalogue(write(HEADER + rows)).fingerprint

    same = fingerprint("1,Shirts,2,red,slim,\n2,Shirts,2,blue,slim,\n")
    assert same == fingerprint('1,Shirts,9,"red\n",slim,nu\n2,Shirts,2,blue,slim,\n')
    for other in ("1,Shirts,2,red,slim,\n3,Shirts,2,blue,slim,\n", "1,Shirts,2,red,slim,\n"):
        assert same != fingerprint(other)
    assert same != fingerprint("1,Shirts,2,blue,slim,\n2,Shirts,2,red,slim,\n")


def test_the_fingerprint_follows_titles_where_there_are_any(write: Write) -> None:
    def fingerprint(*titles: str) -> str:
        rows = "".join(f"{row},Shirts,red,{title}\n" for row, title in enumerate(titles))
        return open_catalogue(write(f"id,Category,attr_1,title\n{rows}")).fingerprint

    assert fingerprint("Red shirt", "") == fingerprint(" Red  shirt", " ")
    others = [("Red shirt", "Shirt"), ("", "Red shirt"), ("Red", "shirt")]
    assert len({fingerprint("Red shirt", ""), *(fingerprint(*each) for each in others)}) == 4


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ("id,Category,attr_1,title", "Red shirt"),
        ("id,Category,attr_1,TITLE", "Red shirt"),
        ("id,Category,attr_1,name", None),
    ],
)
def test_a_column_called_title_is_the_text(write: Write, header: str, title: str | None) -> None:
    table = write(f"{header}\n1,Shirts,red,Red shirt\n")
    (product,) = open_catalogue(table).products()
    assert product.text == title


def test_a_title_that_is_an_attribute_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Category,title\n1,Shirts,long\n")
    (tmp_path / "catalogue.yaml").write_text("table: t.csv\ncolumns: {attributes: {title: title}}\n")
    (product,) = open_catalogue(tmp_path).products()
    assert (product.text, dict(product.labels)) == (None, {"title": "long"})


def test_another_column_may_be_named_as_the_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Category,attr_1,title,about\n1,Shirts,red,Shirt,Red shirt\n")
    (tmp_path / "catalogue.yaml").write_text("table: t.csv\ncolumns: {text: about}\n")
    assert [each.text for each in open_catalogue(tmp_path).products()] == ["Red shirt"]


CELLS = st.sampled_from(
    ["", "a", "b", " b", "b  c", "b c\n", "nan", "NU", "default", "dummy_value", "x,y", "ü½", 'q"']
)
PRODUCTS = st.lists(
    st.tuples(st.sampled_from(["Shirts", "Tops & Tunics", "Hats", ""]), CELLS, CELLS, CELLS),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(rows=PRODUCTS)
def test_labels_agree_with_plain_python(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    declared = {"Shirts": ["color", "fit"], "Tops & Tunics": ["color", "fit", "neck"]}
    folder = tmp_path_factory.mktemp("random")
    taxonomy = Taxonomy.of({key: dict.fromkeys(names, ()) for key, names in declared.items()})
    (folder / "taxonomy.yaml").write_text(taxonomy.to_yaml())
    cells = [(number, *row) for number, row in enumerate(rows)]
    columns = ["id", "Category", "attr_1", "attr_2", "attr_3"]
    pl.DataFrame(cells, columns, orient="row").write_csv(folder / "t.csv")
    catalogue = open_catalogue(folder / "t.csv")

    expected = []
    for category, *texts in rows:
        names = declared.get(category, [])
        known = zip(names, map(clean, texts), strict=False)
        expected.append({name: text for name, text in known if text.casefold() not in NO_LABEL})
    assert [dict(each.labels) for each in catalogue.products()] == expected
    assert [dict(each.labels) for part in catalogue.stream(5) for each in part] == expected
    decoded = [
        {
            catalogue.taxonomy.heads[head].attribute: catalogue.taxonomy.heads[head].values[label]
            for head, label in zip(heads, labels, strict=True)
            if label >= 0
        }
        for heads, labels in zip(catalogue.heads, catalogue.labels, strict=True)
    ]
    assert decoded == expected


@pytest.fixture(scope="module")
def facts(shared_data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared_data / "meesho/taxonomy_facts.json").read_text())
    return content


@pytest.fixture(scope="module")
def meesho(shared_data: Path) -> Catalogue:
    return open_catalogue(shared_data / "meesho")


@pytest.mark.shared_data
def test_the_challenge_has_its_size(meesho: Catalogue, facts: dict[str, Any]) -> None:
    totals = facts["totals"]
    assert len(meesho) == facts["n_train"] == 70_213
    assert meesho.taxonomy.num_heads == totals["heads"] == 42
    num_values = sum(len(head.values) for head in meesho.taxonomy.heads)
    assert num_values == totals["label_classes_total"] == 170
    assert int((meesho.heads >= 0).sum()) == totals["label_cells"] == 621_425
    assert int(((meesho.heads >= 0) & (meesho.labels < 0)).sum()) == totals["missing_cells"]
    assert list(facts["categories"]) == list(meesho.taxonomy.categories)


@pytest.mark.shared_data
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_challenge_has_its_ids(shared_data: Path, facts: dict[str, Any], part: str) -> None:
    catalogue = open_catalogue(shared_data / "meesho" / f"{part}.csv")
    assert len(catalogue) == facts[f"n_{part}"]
    assert catalogue.table["id"].dtype == pl.Int64
    by_category = catalogue.table.group_by("category").agg(
        pl.col("id").min().alias("first"), pl.col("id").max().alias("last"), pl.len()
    )
    found = {row[0]: list(row[1:]) for row in by_category.iter_rows()}
    assert found == facts["id_ranges"][part]
    assert {category: each[2] for category, each in found.items()} == facts[f"{part}_rows_per_category"]
    ids = catalogue.table["id"]
    assert [ids.min(), ids.max()] == facts[f"{part}_id_min_max"]


@pytest.mark.shared_data
def test_the_challenge_has_every_count(meesho: Catalogue, facts: dict[str, Any]) -> None:
    for code, (category, wanted) in enumerate(facts["categories"].items()):
        attributes = meesho.taxonomy.attributes(category)
        labels = meesho.labels[meesho.category_codes == code][:, : len(attributes)]  # rows, slots
        num_known = (labels >= 0).sum(axis=1)
        assert len(labels) == wanted["rows"]
        assert list(attributes) == list(wanted["attributes"])
        assert len(attributes) == wanted["No_of_attribute"]
        assert (num_known == len(attributes)).sum() == wanted["rows_with_all_known"]
        assert (num_known == 0).sum() == wanted["rows_with_none_known"]
        assert round(float(num_known.mean()), 3) == wanted["mean_known_per_row"]
        for slot, head in enumerate(meesho.taxonomy.heads_of(category)):
            fact = wanted["attributes"][head.attribute]
            column = labels[:, slot]
            counts = np.bincount(column[column >= 0], minlength=len(head.values))
            assert fact["column"] == f"attr_{slot + 1}"
            assert fact["n_classes"] == len(head.values)
            assert fact["missing"] == (column < 0).sum()
            assert fact["values"] == dict(zip(head.values, counts.tolist(), strict=True))


@pytest.mark.shared_data
def test_the_sample_submission_loads(shared_data: Path) -> None:
    catalogue = open_catalogue(shared_data / "meesho/sample_submission.csv")
    products = catalogue.products()
    assert [each.id for each in products] == [47001, 16431, 55700, 15698, 30330]
    assert products[1].labels["blouse_pattern"] == "same as saree"
    assert products[3].labels["pallu_details"] == "woven design"
    assert products[0].labels["surface_styling"] == "default"
    assert [len(each.labels) for each in products] == [8, 10, 10, 10, 9]


@pytest.mark.shared_data
def test_real_photos_are_found(shared_data: Path) -> None:
    catalogue = open_catalogue(shared_data / "myntra")
    assert len(catalogue) == 4769
    assert all(each.photos[0].is_file() for each in catalogue.products())


def test_known_labels_are_those_of_the_products_with_what_is_off_the_list(write: Write) -> None:
    listed = Taxonomy.of({"Shirts": {"color": ["red"], "fit": ["slim"]}})
    catalogue = open_catalogue(write(HEADER + ROWS + "7,Shirts,2,teal,slim,\n"), taxonomy=listed)
    rows = np.array([6, 0, 1, 3, 2])
    codes = catalogue.known_labels(rows)
    np.testing.assert_array_equal(codes, listed.encode_labels(catalogue.products(rows)))
    assert codes[:2].tolist() == [[OFF_LIST, 0], [0, 0]]


def test_a_column_has_the_address_of_the_products_page(tmp_path: Path) -> None:
    rows = "id,Category,attr_1,Link\n1,Shirts,red,https://shop.example/1\n2,Shirts,blue,\n"
    (tmp_path / "t.csv").write_text(rows)
    (tmp_path / "catalogue.yaml").write_text("table: t.csv\ncolumns: {page: link}\n")
    catalogue = open_catalogue(tmp_path)
    assert [each.page for each in catalogue.products()] == ["https://shop.example/1", None]
    assert [each.page for each in next(catalogue.stream(8))] == ["https://shop.example/1", None]
    plain = open_catalogue(tmp_path / "t.csv")
    assert plain.fingerprint == catalogue.fingerprint
    assert plain.products()[0].page is None


def test_a_page_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,Category,attr_1,link\n1,Shirts,red,x\n")
    (tmp_path / "catalogue.yaml").write_text("table: t.csv\ncolumns: {page: lnk}\n")
    with pytest.raises(CatalogueError, match="Missing columns: 'lnk'") as error:
        open_catalogue(tmp_path)
    assert "'link'" in str(error.value.hint)
