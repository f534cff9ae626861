"""The taxonomy keeps order and odd names through YAML and JSON, and refuses what would be lost."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facetry.errors import TaxonomyError
from facetry.product import Product
from facetry.taxonomy import NO_LABEL, OFF_LIST, Head, Taxonomy, clean

ODD = Taxonomy.of(
    {
        "Women Tops & Tunics": {"print_or_pattern_type": ["a.b", "a_b", "a-b", "1", "1e3", "12:30"]},
        "Sarees.silk_": {"yes": ["no", "yes", "on", "null", "~", "true"], "x": ["#", "- a"]},
        "साड़ी": {"रंग": ["लाल", "नीला"], "colour: of [it]": ["{a}", "'b'", '"', "a, b", "é", "👗"]},
        "Men Tshirts": {"none": [], "one": ["only"]},
    }
)
FORMS: list[tuple[Callable[[Taxonomy], str], Callable[[str], Taxonomy]]] = [
    (Taxonomy.to_yaml, Taxonomy.from_yaml),
    (Taxonomy.to_json, Taxonomy.from_json),
]

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).filter(
    lambda name: name.casefold() not in NO_LABEL
)


@pytest.mark.parametrize(("write", "read"), FORMS)
def test_odd_names_survive(write: Callable[[Taxonomy], str], read: Callable[[str], Taxonomy]) -> None:
    assert read(write(ODD)) == ODD
    assert write(read(write(ODD))) == write(ODD)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        names,
        st.dictionaries(names, st.lists(names, max_size=4), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    )
)
def test_any_taxonomy_survives(declared: dict[str, dict[str, list[str]]]) -> None:
    taxonomy = Taxonomy.of(declared)
    assert list(taxonomy.declared()) == list(declared)
    for write, read in FORMS:
        assert read(write(taxonomy)) == taxonomy


def test_what_is_derived() -> None:
    assert ODD.num_heads == 7
    assert ODD.num_slots == 2
    assert ODD.num_values == 6
    assert ODD.categories == ("Women Tops & Tunics", "Sarees.silk_", "साड़ी", "Men Tshirts")
    assert ODD.attributes("Men Tshirts") == ("none", "one")
    assert ODD.head_indices("साड़ी") == range(3, 5)
    assert [head.category for head in ODD.heads_of("साड़ी")] == ["साड़ी"] * 2
    assert ODD.head("Men Tshirts", "one") == Head("Men Tshirts", "one", ("only",))
    assert ODD.head("Men Tshirts", "one").name == "Men Tshirts / one"


def test_order_is_kept_and_values_are_sorted() -> None:
    taxonomy = Taxonomy.of({"B": {"z": ["b", "a"], "a": ["Z", "a"]}, "A": {"m": ["x"]}})
    assert taxonomy.declared() == {"B": {"z": ["a", "b"], "a": ["Z", "a"]}, "A": {"m": ["x"]}}


def test_white_space_is_cleaned_and_equal_values_are_one() -> None:
    taxonomy = Taxonomy.of({" Men\tTshirts": {"neck ": ["round", " round", "v \n neck", "Round"]}})
    assert taxonomy.heads == (Head("Men Tshirts", "neck", ("Round", "round", "v neck")),)
    assert clean("\u00a0a\u2003 b ") == "a b"


def test_default_is_a_value() -> None:
    assert Taxonomy.of({"A": {"a": ["default"]}}).heads[0].values == ("default",)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "no category"),
        ({"A": {}}, "'A' has no attribute"),
        ({" ": {"a": ["x"]}}, "Empty name"),
        ({"A": {" ": ["x"]}}, "Empty name"),
        ({"A": {"a": ["x"], "a ": ["y"]}}, "twice"),
        ({"A": {"a": ["x"]}, "A ": {"b": ["y"]}}, "'A' twice"),
        ({"A": {"a": ["x"]}, "B": {"a": ["x"]}, " A": {"b": ["y"]}}, "'A' twice"),
        ({"A": {"a": ["x", ""]}}, "no label"),
        ({"A": {"a": ["NaN"]}}, "no label"),
        ({"A": {"a": [" dummy_value "]}}, "no label"),
    ],
)
def test_refused(declared: dict[str, dict[str, list[str]]], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.of(declared)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A: {a: [yes]}", "True is read as bool"),
        ("A: {no: [x]}", "False is read as bool"),
        ("A: {a: [1]}", "1 is read as int"),
        ("1: {a: [x]}", "1 is read as int"),
        ("A: {a: [null]}", "None is read as NoneType"),
        ("A: {a: [2024-01-01]}", "is read as date"),
        ("A: {a: [[x]]}", "is read as list"),
        ("A: {a: x}", "not a list"),
        ("A: [a]", "not a mapping of attributes"),
        ("- A", "not a mapping"),
        ("", "not a mapping"),
        ("{}", "no category"),
        ("A: {a: [x", "not YAML"),
        ("A: !!python/object/apply:os.getcwd []", "not YAML"),
        ("A: {a: [x]}\nA: {b: [y]}", "'A' twice"),
        ("A: {a: [x], a: [y]}", "'a' twice"),
        ("A: {a: ['nan']}", "no label"),
    ],
)
def test_refused_yaml(text: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_yaml(text)


def test_quoted_yes_and_no_are_values() -> None:
    taxonomy = Taxonomy.from_yaml("Sarees: {transparency: ['yes', \"no\"]}")
    assert taxonomy.heads[0].values == ("no", "yes")
    with pytest.raises(TaxonomyError, match="in quotes"):
        Taxonomy.from_yaml("Sarees: {transparency: [yes, no]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "not of format 1"),
        ('{"categories": {"A": {"a": ["x"]}}}', "not of format 1"),
        ('{"format": 2, "categories": {"A": {"a": ["x"]}}}', "not of format 1"),
        ('{"format": 1}', "not a mapping"),
        ('{"format": 1, "categories": {"A": {"a": [true]}}}', "True is read as bool"),
    ],
)
def test_refused_json(text: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        Taxonomy.from_json(text)


def test_json_is_readable() -> None:
    assert "साड़ी" in ODD.to_json()
    assert json.loads(ODD.to_json())["categories"] == ODD.declared()


@pytest.mark.parametrize(
    ("look", "hint"),
    [
        (lambda: ODD.head_indices("men tshirt"), "Did you mean 'Men Tshirts'?"),
        (lambda: ODD.heads_of("Saree.silk"), "Did you mean 'Sarees.silk_'?"),
        (lambda: ODD.attributes("zzz"), "Known: Men Tshirts, "),
        (lambda: ODD.head("Men Tshirts", "ones"), "Did you mean 'one'?"),
        (lambda: ODD.head("Men Tshirt", "one"), "Did you mean 'Men Tshirts'?"),
    ],
)
def test_unknown_names_get_the_nearest(look: Callable[[], object], hint: str) -> None:
    with pytest.raises(TaxonomyError) as caught:
        look()
    assert caught.value.hint.startswith(hint)


def test_with_values() -> None:
    taxonomy = Taxonomy.of({"A": {"a": ["m"], "b": ["x"]}})
    seen = {"A": {"a": ["z", "m", "c "], "new": ["y"]}, "B": {"a": ["q"]}}
    grown = taxonomy.with_values(seen)
    assert grown.declared() == {"A": {"a": ["c", "m", "z"], "b": ["x"]}}
    assert taxonomy.declared() == {"A": {"a": ["m"], "b": ["x"]}}


@pytest.mark.parametrize(
    ("names", "sentences"),
    [
        (["color", "fit"], []),
        (
            ["occasion", "ocassion"],
            ["Attributes 'ocassion' and 'occasion' look like two spellings of one name; both are kept."],
        ),
    ],
)
def test_look_alikes(names: list[str], sentences: list[str]) -> None:
    assert Taxonomy.of({"A": dict.fromkeys(names, ())}).look_alikes() == sentences


def test_slots_and_values_past_the_end_are_padding() -> None:
    uneven = Taxonomy.of(
        {"Sarees": {"border": ["a", "b", "c"], "pattern": ["x"]}, "Kurtis": {"neck": []}}
    )
    assert uneven.head_slots.tolist() == [[0, 1], [2, -1]]
    assert uneven.value_mask.sum(axis=2).tolist() == [[3, 1], [0, 0]]
    assert uneven.heads_of_slots(np.array([1, -1, 0])).tolist() == [[2, -1], [-1, -1], [0, 1]]
    assert uneven.encode_categories(["Kurtis", "kurtis"]).tolist() == [1, -1]


def test_labels_become_codes_and_texts_again() -> None:
    taxonomy = Taxonomy.of({"Sarees": {"border": ["a", "b"], "pattern": ["x"]}})
    labels = [{"border": "b"}, {"border": "z", "pattern": "x"}, {"neck": "round"}, {}]
    products = [Product(id=row, category="Sarees", labels=each) for row, each in enumerate(labels)]
    codes = taxonomy.encode_labels([*products, Product(id=4, category="Shoes", labels={"border": "b"})])
    assert codes.tolist() == [[1, -1], [OFF_LIST, 0], [-1, -1], [-1, -1], [-1, -1]]
    assert taxonomy.decode_labels("Sarees", [1, None]) == labels[0]
    assert taxonomy.decode_labels("Sarees", ["z", 0]) == labels[1]
    assert taxonomy.decode_labels("Shoes", [1, None]) == {}
    assert taxonomy.slot_codes(0) == {("Sarees", "a"): 0, ("Sarees", "b"): 1}
