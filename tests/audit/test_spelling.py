"""Two spellings of one value are found; values that are meant to differ are left alone."""

import time

import pytest

from facetry.audit.labels import count_labels
from facetry.audit.spelling import find_look_alikes, look_alike_findings, plain, similar_pairs
from tests.audit.conftest import MakeCatalogue


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("net", "Net", "letter case"),
        ("t-shirt", "t shirt", "punctuation"),
        ("crepe", "crêpe", "accents"),
        ("v neck", "v.neck", "punctuation"),
        ("v neck", "vneck", "spaces"),
        ("round neck", "neck round", "order of words"),
        ("long sleeve", "long sleeves", "plural"),
        ("dress", "dresses", "plural"),
        ("berry", "berries", "plural"),
        ("net", "nett", "one letter"),
        ("viscose", "vicsose", "one letter"),
        ("georgette", "georgatte", "one letter"),
        ("three quarter sleeves", "three qarter sleeves", "one letter"),
    ],
)
def test_look_alikes(first: str, second: str, reason: str) -> None:
    ((pair, (found, _)),) = similar_pairs([first, second, "something else"]).items()
    assert set(pair) == {first, second}
    assert reason in found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("red", "bed"),
        ("short", "shirt"),
        ("3/4 sleeves", "1/4 sleeves"),
        ("3/4", "34"),
        ("size 1", "size 11"),
        ("a-line", "line"),
        ("big border", "pig border"),
        ("no", "on"),
        ("solid", "printed"),
        ("s", "xs"),
        ("boat neck", "boat"),
        ("pink", "pin"),
        ("regular", "irregular"),
        ("??", "!"),
    ],
)
def test_different_values(first: str, second: str) -> None:
    assert similar_pairs([first, second]) == {}


def test_the_surest_reason_is_given_once() -> None:
    pairs = similar_pairs(["Nets", "nets", "net"])
    assert {frozenset(pair): reason for pair, (reason, _) in pairs.items()} == {
        frozenset({"Nets", "nets"}): "letter case, accents or punctuation",
        frozenset({"Nets", "net"}): "singular and plural",
        frozenset({"nets", "net"}): "singular and plural",
    }


def test_many_values_are_compared_fast() -> None:
    values = [f"{chr(97 + n % 26)}{'abcdefghij'[n // 26 % 10]}colour{n:05d}x" for n in range(5000)]
    start = time.perf_counter()
    assert similar_pairs(values) == {}
    assert time.perf_counter() - start < 20


def test_plain() -> None:
    assert plain("  Net_Fabric! ") == "net fabric"
    assert plain("") == ""


def test_the_more_frequent_one_is_suggested(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue(
        [
            (1, "Shirts", "red", "net", ""),
            (2, "Shirts", "Red", "net", ""),
            (3, "Shirts", "red", "Nett", ""),
            (4, "Sarees", "RED", "", "zarri"),
        ]
    )
    found = find_look_alikes(count_labels(catalogue))
    assert [(each.rare, each.frequent, each.num_rare, each.num_frequent) for each in found] == [
        ("Red", "red", 1, 2),
        ("Nett", "net", 1, 2),
        ("zari", "zarri", 0, 1),
    ]
    findings = look_alike_findings(catalogue, found)
    rows = findings.select("id", "category", "attribute", "value", "suggested").rows()
    assert sorted(rows, key=str) == [
        ("2", "Shirts", "color", "Red", "red"),
        ("3", "Shirts", "fabric", "Nett", "net"),
        (None, "Sarees", "border", "zari", "zarri"),
    ]


def test_no_look_alikes(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue([(1, "Shirts", "red", "", "")])
    assert look_alike_findings(catalogue, find_look_alikes(count_labels(catalogue))).is_empty()
