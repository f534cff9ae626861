"""Writing a catalogue.yaml, and changing lines of one."""

from pathlib import Path

import pytest
import yaml

from facetry.catalogue.describe import catalogue_yaml, changed_values, value_lines, with_values
from facetry.catalogue.guess import Guess, guess_columns
from facetry.catalogue.source import Source, Values, read_source
from facetry.errors import CatalogueError

WANTED = Values(
    normalise=("case",),
    separator=(",", "/"),
    aliases={"tee": "t-shirt", "colour": {"navy: dark": "#blue"}},
    missing_values=("-", "#N/A", "no"),
)


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    source = Source.model_validate(
        {
            "table": tmp_path / "shop: new.csv",
            "images": tmp_path / "photos é",
            "photo_pattern": "{id}_*.jpg",
            "sheet": "No",
            "header_rows": [2, 3],
            "columns": {"id": "No", "category": {"constant": "T: Shirts"}, "attributes": {"y": "#c"}},
            "values": WANTED,
        }
    )
    text = catalogue_yaml(source, Guess(columns=(), roles={}), base=tmp_path)
    (tmp_path / "catalogue.yaml").write_text(text)
    assert read_source(tmp_path / "catalogue.yaml") == source


def test_remarks_count_what_a_column_holds(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{row},Bags,{'red' if row % 2 else 'blue'},{'dcbae'[row % 5]}-neck" for row in range(40)]
    table.write_text("\n".join(["sku,type,colour,neck", *rows]))
    guess = guess_columns(Source(table=table))
    text = catalogue_yaml(Source(table=table, columns=guess.source_columns(None)), guess, base=tmp_path)
    assert "category: type  # 1 category\n" in text
    assert "colour: colour  # 2 values: blue, red\n" in text
    assert "neck: neck  # 5 values: d-neck, c-neck, b-neck, ...\n" in text


@pytest.mark.parametrize(
    "text",
    [
        "table: t.csv\n",
        "# kept\ntable: t.csv\nvalues:\n  normalise: []  # gone\n  # kept, too\n  several: first\n",
        "values:\n    separator:\n    - ;\n    aliases:\n        a: b\n\ntable: t.csv  # kept\n",
    ],
)
def test_lines_are_added_and_the_others_stay(text: str) -> None:
    changed = with_values(text, WANTED)
    assert Values.model_validate(yaml.safe_load(changed)["values"]) == WANTED
    assert yaml.safe_load(changed)["table"] == "t.csv"
    assert changed.count("kept") == text.count("kept")


def test_a_section_in_one_line_is_left_alone() -> None:
    with pytest.raises(CatalogueError, match="line by line"):
        with_values("table: t.csv\nvalues: {normalise: [accents]}\n", WANTED)


def test_the_lines_that_are_shown_say_the_same() -> None:
    lines = value_lines(changed_values(Values(), WANTED))
    assert Values.model_validate(yaml.safe_load("\n".join(lines))["values"]) == WANTED
