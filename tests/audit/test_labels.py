"""Labels are counted by head, and what is rare, constant or missing is found."""

from math import isnan

import polars as pl
import pytest

from facetry.audit.findings import FINDINGS, concat_findings
from facetry.audit.labels import CategoryLabels, count_labels, label_findings
from facetry.catalogue.catalogue import Catalogue
from tests.audit.conftest import MakeCatalogue

ROWS = [
    (1, "Shirts", "red", "cotton", ""),
    (2, "Shirts", "red", "", ""),
    (3, "Shirts", "blue", "cotton", ""),
    (4, "Shirts", "", "", ""),
    (5, "Sarees", "red", "", ""),
]


@pytest.fixture
def small(make_catalogue: MakeCatalogue) -> Catalogue:
    return make_catalogue(ROWS)


def find(catalogue: Catalogue, min_examples: int = 2) -> pl.DataFrame:
    return concat_findings([*label_findings(catalogue, count_labels(catalogue), min_examples)])


def category(catalogue: Catalogue, name: str) -> CategoryLabels:
    return next(each for each in count_labels(catalogue) if each.category == name)


def test_values_are_counted(small: Catalogue) -> None:
    shirts = category(small, "Shirts")
    color, fabric = shirts.heads
    assert color.head.values == ("blue", "red")
    assert color.counts == (1, 2)
    assert color.ranked() == [("red", 2), ("blue", 1)]
    assert (color.num_labels, color.missing_share, color.imbalance) == (3, 0.25, 2.0)
    assert (color.num_rare(2), color.num_rare(3), color.is_constant) == (1, 2, False)
    assert (fabric.counts, fabric.imbalance, fabric.is_constant) == ((2,), 1.0, True)
    assert (shirts.num_products, shirts.num_labels, shirts.missing_share) == (4, 5, 3 / 8)


def test_a_head_without_labels(small: Catalogue) -> None:
    border = category(small, "Sarees").heads[1]
    assert (border.num_labels, border.missing_share, border.is_constant) == (0, 1.0, False)
    assert isnan(border.imbalance)
    assert border.unused() == ["plain", "zari"]


def test_attributes_that_are_missing_together(small: Catalogue) -> None:
    shirts = category(small, "Shirts")
    patterns = [(pattern.missing, pattern.count) for pattern in shirts.patterns]
    assert patterns == [((False, False), 2), ((False, True), 1), ((True, True), 1)]
    assert shirts.num_patterns == 3


def test_only_the_most_frequent_patterns_are_kept(catalogue: Catalogue) -> None:
    for each in count_labels(catalogue):
        counts = [pattern.count for pattern in each.patterns]
        assert counts == sorted(counts, reverse=True)
        assert len(counts) <= 8
        assert each.num_patterns >= len(counts)
        assert sum(counts) <= each.num_products


def test_findings_on_heads(small: Catalogue) -> None:
    findings = find(small)
    heads = findings.filter(pl.col("row").is_null()).select("kind", "category", "attribute", "value")
    assert heads.rows() == [
        ("attribute without labels", "Sarees", "border", None),
        ("constant attribute", "Shirts", "fabric", None),
        ("constant attribute", "Sarees", "color", None),
        ("unused value", "Sarees", "border", "plain"),
        ("unused value", "Sarees", "border", "zari"),
        ("missing labels", "Shirts", "fabric", None),
    ]
    assert findings.schema == FINDINGS


def test_products_with_rare_values(small: Catalogue) -> None:
    rare = find(small).filter(kind="rare value").select("row", "id", "attribute", "value", "detail")
    assert rare.rows() == [
        (4, "3", "color", "blue", "1 product has it"),
        (6, "5", "color", "red", "1 product has it"),
    ]
    assert find(small, min_examples=1).filter(kind="rare value").is_empty()


def test_an_unknown_category_is_not_counted(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue([*ROWS, (6, "Hats", "green", "", ""), (7, "", "green", "", "")])
    assert sum(each.num_products for each in count_labels(catalogue)) == 5
    assert "green" not in find(catalogue)["value"]


def test_counts_are_those_of_the_products(catalogue: Catalogue) -> None:
    products = catalogue.products()
    for each in count_labels(catalogue):
        own = [product for product in products if product.category == each.category]
        assert each.num_products == len(own)
        for labels in each.heads:
            values = [product.labels.get(labels.head.attribute) for product in own]
            assert labels.counts == tuple(values.count(value) for value in labels.head.values)
