"""The reference of catalogue.yaml is what the schema says, and its examples are read."""

import re
from pathlib import Path

import pytest
import yaml

from facetry.catalogue.reference import reference
from facetry.catalogue.source import Columns, Source, Values

EXAMPLES = re.findall(r"```yaml\n(.*?)```", reference(), re.DOTALL)


def test_the_page_is_up_to_date(project: Path) -> None:
    page = (project / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert page == reference(), "make docs"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_read(example: str) -> None:
    assert Source.model_validate(yaml.safe_load(example)).table.name


@pytest.mark.parametrize("section", [Source, Columns, Values])
def test_every_key_says_what_it_means(section: type[Source]) -> None:
    for key, field in section.model_fields.items():
        assert (field.description or "").endswith("."), key
        assert f"{key}`" in reference()
