"""The recipe reference is what the schema says, and the schema says what every key means."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from facetry.recipe import Recipe
from facetry.recipe.reference import reference

CLASSES = TypeAdapter(Recipe).json_schema()["$defs"]
KEYS = [(name, key) for name, schema in CLASSES.items() for key in schema["properties"]]


def rows() -> dict[str, tuple[str, str, str]]:
    """Allowed values, default and meaning of each key of a classifier."""
    text = reference().partition("## Kind `search`")[0]
    rows = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text.splitlines() if line.startswith("| `")]
    return {key.strip("`"): (allowed, default, meaning) for key, allowed, default, meaning in rows}


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of a class's keys, of the parts below it too."""
    for key, field in model.model_fields.items():
        yield f"{prefix}{key}"
        for each in (field.annotation, *get_args(field.annotation)):
            if isinstance(each, type) and issubclass(each, BaseModel) and key != "neighbour_backbone":
                yield from keys_of(each, f"{prefix}{key}.")


def test_the_page_is_up_to_date(project: Path) -> None:
    page = (project / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert page == reference(), "make docs"


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_every_key_says_what_it_means(name: str, key: str) -> None:
    meaning = CLASSES[name]["properties"][key].get("description", "")
    assert meaning.endswith("."), f"write a sentence below {name}.{key}"


def test_every_kind_and_every_key_has_its_place() -> None:
    classifier, *_ = get_args(Recipe)
    assert list(rows()) == sorted(set(keys_of(classifier)), key=list(rows()).index)
    text = reference()
    for kind in ("classifier", "search", "vlm", "ensemble"):
        assert f"\n## Kind `{kind}`\n" in text
    for key in ("search.vote", "vlm.num_shots", "training.warmup_share", "prior_labels"):
        assert text.count(f"\n| `{key}` |") == 1


@pytest.mark.parametrize(
    ("key", "allowed", "default"),
    [
        ("training.backbone_lr", "number above 0", "`0.00001`"),
        ("training.milestones", "list of: whole number above 0", "`[4, 6, 10]`"),
        ("training.loss", "keys: [`training.loss`](#trainingloss)", ""),
        ("clean.neighbour_backbone", "keys: [`backbone`](#backbone) · `null`", "`null`"),
        ("clean.repairs", "file · `null`", "`null`"),
        ("backbone.name", "text", "required"),
        ("backbone.options", "keys and values", "`{}`"),
        ("backbone.frozen", "`true` · `false`", "`false`"),
        ("image.mean", "list of 3: number · `null`", "`null`"),
        ("image.resize", "`shortest` · `squash` · `letterbox` · `null`", "`null`"),
        ("heads.dropout", "number from 0, below 1", "`0.1`"),
    ],
)
def test_a_key_is_described_in_words(key: str, allowed: str, default: str) -> None:
    assert rows()[key][:2] == (allowed, default)


def test_links_have_targets() -> None:
    text = reference()
    headings = re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert len(anchors) == len(headings)
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors
