"""Values that are probably one value, or none, and what mends them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.check.spellings import find_spellings, mended
from facetry.catalogue.describe import with_values
from facetry.catalogue.source import Values


def found(cells: dict[str, int], **values: object) -> dict[str, dict[str, Any]]:
    spellings = find_spellings({"colour": Counter(cells)}, Values.model_validate(values))
    return {each.kind: dict(each.values) for each in spellings}


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ({"black": 9, "Black": 2}, "case twins", {"normalise": ("case",)}),
        ({"ecru": 9, "écru": 2}, "accents twins", {"normalise": ("accents",)}),
        ({"t-shirt": 9, "t shirt": 2}, "hyphen twins", {"aliases": {"colour": {"t shirt": "t-shirt"}}}),
        (
            {"burgundy": 90, "burgandy": 2},
            "look-alikes",
            {"aliases": {"colour": {"burgandy": "burgundy"}}},
        ),
        ({"blue": 9, "blue, white": 1}, "several values", {"separator": (",",)}),
        ({"blue": 9, "blue / red": 1}, "several values", {"separator": ("/",)}),
        (
            {"solid": 90, "soid": 2},
            "look-alikes",
            {"aliases": {"colour": {"soid": "solid"}}},
        ),
        (
            {"red": 9, "3/4 sleeves": 9, "red/white": 1},  # a cut would make "3" of the sleeves
            "several values",
            {"aliases": {"colour": {"red/white": "red"}}},
        ),
        ({"blue": 9, "keine Angabe": 4}, "placeholder", {"missing_values": ("keine angabe",)}),
        ({"blue": 9, "***": 4}, "placeholder", {"missing_values": ("***",)}),
    ],
)
def test_what_is_found_and_what_mends_it(
    cells: dict[str, int], kind: str, values: dict[str, object]
) -> None:
    assert found(cells) == {kind: values}


def test_the_advice_is_a_line_that_can_be_written_below_values() -> None:
    cells = {"solid": 90, "soid": 2, "sold": 1}
    (spelling,) = find_spellings({"colour": Counter(cells)}, Values())
    _, line = spelling.as_problem().advice.split("below values: ")
    assert Values.model_validate(yaml.safe_load(line)).aliases == {"colour": {"soid": "solid"}}


@pytest.mark.parametrize(
    "cells",
    [
        {"red": 9, "blue": 9},
        {"size 10": 90, "size 12": 1},
        {"light blue": 90, "dark blue": 1},
        {"round neck": 90, "round": 2},
        {"short sleeves": 40, "shorts": 1},
        {"and/or": 4, "blue": 3},  # the first part is no value of its own
        {"zari": 50, "Zardi": 40},  # both frequent
    ],
)
def test_different_values_are_left_alone(cells: dict[str, int]) -> None:
    assert found(cells) == {}


def test_of_equally_frequent_twins_the_usual_letter_case_is_right() -> None:
    cells = Counter({"Pink": 1, "pink": 1, "red": 9})
    (twins,) = find_spellings({"colour": cells}, Values())
    assert twins.cells == {"Pink": "pink"}


def test_what_the_catalogue_mends_already_is_not_found_again() -> None:
    cells = {"Black": 9, "black": 2, "black, red": 1, "n/a": 5}
    values = {"normalise": ["case"], "separator": [","]}
    assert found(cells, **values) == {}


def test_the_lines_mend_all_that_was_found(tmp_path: Path) -> None:
    colours = ["black", "Black", "blue, white", "blue", "N/A", "xxx", "***"] * 3
    rows = "".join(f'{number},Tees,"{colour}"\n' for number, colour in enumerate(colours))
    (tmp_path / "t.csv").write_text(f"id,Category,colour\n{rows}")
    file = tmp_path / "catalogue.yaml"
    file.write_text("table: t.csv\ncolumns: {attributes: {colour: colour}}\n")
    report = check_catalogue(tmp_path, photos="none")
    assert report.mended is not None
    file.write_text(with_values(file.read_text(), report.mended))
    again = check_catalogue(tmp_path, photos="none")
    assert again.mended == report.mended
    assert open_catalogue(tmp_path).taxonomy.heads[0].values == ("black", "blue")
    (note,) = [each for each in again.problems if each.kind == "words for nothing"]
    assert "'N/A'" in note.what
    assert note.count == 9


def test_findings_are_repairs_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,Category,colour\n1,Tees,black\n2,Tees,black\n3,Tees,Black\n4,Tees,\n"
    )
    (tmp_path / "catalogue.yaml").write_text("table: t.csv\ncolumns: {attributes: {colour: colour}}\n")
    report = check_catalogue(tmp_path, photos="none")
    report.findings.write_csv(tmp_path / "findings.csv")
    repaired = open_catalogue(tmp_path, repairs=tmp_path / "findings.csv")
    assert [product.labels.get("colour") for product in repaired.products()] == [
        "black",
        "black",
        "black",
        None,
    ]


def test_what_mends_is_added_to_what_is_there() -> None:
    values = Values(separator=("|",), aliases={"tee": "t-shirt"})
    spellings = find_spellings({"c": Counter({"blue": 9, "blue, x": 1, "Blue": 1})}, values)
    both = mended(values, spellings)
    assert both.separator == ("|", ",")
    assert both.aliases == {"tee": "t-shirt"}
    assert both.normalise == ("case",)
