"""Products with the same photo and different labels are found, and no others."""

import numpy as np
import polars as pl
import pytest

from facetry.audit.conflicts import Groups, conflict_findings, duplicate_findings, find_conflicts
from facetry.audit.findings import concat_findings
from facetry.catalogue.catalogue import Catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from tests.audit.conftest import MakeCatalogue

PAIRS = {"left": pl.Int64, "right": pl.Int64, "relation": pl.String, "similarity": pl.Float32}
Pair = tuple[int, int, str, float]


def make_groups(codes: list[int], pairs: list[Pair]) -> Groups:
    return Groups(codes=np.array(codes), pairs=pl.DataFrame(pairs, schema=PAIRS, orient="row"))


def said(conflicts: pl.DataFrame) -> list[tuple[object, ...]]:
    return conflicts.select("group", "id", "attribute", "value", "suggested").rows()


def test_members_are_numbered_by_first_product() -> None:
    groups = make_groups([5, 2, 2, 5, 9], [(3, 0, "near", 0.5), (1, 2, "exact", 1.0)])
    assert groups.members().rows() == [
        (0, 1, "near", 0.5),
        (3, 1, "near", 0.5),
        (1, 2, "exact", 1.0),
        (2, 2, "exact", 1.0),
    ]


def test_a_member_is_as_close_as_its_closest_other() -> None:
    pairs = [(0, 1, "near", 0.5), (1, 2, "alike", 0.9), (0, 1, "exact", 1.0)]
    members = make_groups([0, 0, 0], pairs).members()
    assert members["relation"].to_list() == ["exact", "exact", "alike"]


def test_labels_that_differ(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue(
        [
            (1, "Shirts", "red", "net", ""),
            (2, "Shirts", "blue", "net", ""),
            (3, "Shirts", "red", "", ""),
            (4, "Shirts", "green", "silk", ""),
        ]
    )
    groups = make_groups([0, 0, 0, 3], [(0, 1, "exact", 1.0), (1, 2, "near", 0.5)])
    conflicts = find_conflicts(catalogue, groups.members())
    assert said(conflicts) == [
        (1, "1", "color", "red", None),
        (1, "2", "color", "blue", "red"),
        (1, "3", "color", "red", None),
    ]


def test_a_draw_suggests_nothing(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue([(1, "Shirts", "red", "", ""), (2, "Shirts", "blue", "", "")])
    conflicts = find_conflicts(catalogue, make_groups([0, 0], [(0, 1, "exact", 1.0)]).members())
    assert said(conflicts) == [(1, "1", "color", "red", None), (1, "2", "color", "blue", None)]


def test_categories_that_differ(make_catalogue: MakeCatalogue) -> None:
    catalogue = make_catalogue(
        [(1, "Shirts", "red", "net", ""), (2, "Sarees", "red", "", "zari"), (3, "", "", "", "")]
    )
    groups = make_groups([0, 0, 0], [(0, 1, "exact", 1.0), (0, 2, "exact", 1.0)])
    conflicts = find_conflicts(catalogue, groups.members())
    assert said(conflicts) == [(1, "1", None, "Shirts", None), (1, "2", None, "Sarees", None)]
    findings = concat_findings(conflict_findings(conflicts))
    assert findings["kind"].unique().to_list() == ["category conflict"]


def test_only_equal_photos_make_a_conflict_an_error(make_catalogue: MakeCatalogue) -> None:
    labels = ["red", "blue", "red", "blue"]
    catalogue = make_catalogue([(id_, "Shirts", value, "", "") for id_, value in enumerate(labels)])
    pairs: list[Pair] = [(0, 1, "exact", 1.0), (2, 3, "near", 0.6)]
    conflicts = find_conflicts(catalogue, make_groups([0, 0, 2, 2], pairs).members())
    findings = concat_findings(conflict_findings(conflicts))
    assert findings.select("id", "severity").rows() == [
        ("0", "error"),
        ("1", "error"),
        ("2", "warning"),
        ("3", "warning"),
    ]


@pytest.mark.parametrize("codes", [[0, 1], [0, 0]])
def test_no_conflict(make_catalogue: MakeCatalogue, codes: list[int]) -> None:
    catalogue = make_catalogue([(1, "Shirts", "red", "", ""), (2, "Shirts", "red", "net", "")])
    pairs = [(0, 1, "near", 1.0)] if codes == [0, 0] else []
    groups = make_groups(codes, pairs)
    conflicts = find_conflicts(catalogue, groups.members())
    assert conflicts.is_empty()
    assert concat_findings(conflict_findings(conflicts)).is_empty()
    assert concat_findings(duplicate_findings(catalogue, groups.members())).height == (2 if pairs else 0)


def test_planted_conflicts_are_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("planted") / "catalogue"
    draw_catalogue(folder, SampleConfig(num_products=400, seed=5, size_px=32))
    catalogue, codes, planted = with_true_groups(folder)
    conflicts = find_conflicts(catalogue, make_groups(codes, true_pairs(codes)).members())
    found = {codes[place] for place in conflicts["index"]}
    assert len(planted) > 3
    assert found == planted


def with_true_groups(folder: object) -> tuple[Catalogue, list[int], set[int]]:
    """The catalogue, each product's original as a place, and the groups with a planted conflict."""
    from facetry.catalogue.catalogue import open_catalogue

    catalogue = open_catalogue(str(folder))
    truth = pl.read_parquet(f"{folder}/truth.parquet").filter(split="train")
    places = {id_: place for place, id_ in enumerate(catalogue.table["id"])}
    codes = list(range(len(catalogue)))
    planted = set()
    for id_, original, is_conflicting in truth.select("id", "duplicate_of", "conflicting").iter_rows():
        if original is not None:
            codes[places[id_]] = places[original]
        if is_conflicting:
            planted.add(places[original])
    return catalogue, codes, planted


def true_pairs(codes: list[int]) -> list[Pair]:
    return [(code, place, "exact", 1.0) for place, code in enumerate(codes) if code != place]
