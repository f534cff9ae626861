"""Search spaces: what is read, what is refused, and the spaces that are shipped."""

import re
from pathlib import Path

import pytest
import yaml

from facetry.errors import FacetryError, RecipeError, SettingError
from facetry.experiments.tune.space import Choices, parse_space, read_space
from facetry.recipe import ClassifierRecipe, Recipe, load_recipe, parse_recipe

SPACES = sorted((Path(__file__).parents[3] / "spaces").glob("*.yaml"))


BASE: Recipe = parse_recipe({"backbone": {"name": "nano_vit"}})


def test_choices_are_as_the_recipe_has_them() -> None:
    content = {
        "training.heads_lr": ["5e-5", 1],  # YAML takes the first for a text
        "training.milestones": [[2, 4], []],
        "training.compile": [True, False],
        "heads": [{"hidden_dim": 8}],
    }
    space = parse_space(content, BASE)
    assert space.dimensions["training.heads_lr"] == Choices((5e-5, 1.0), (5e-5, 1.0))
    assert space.dimensions["training.milestones"] == Choices(([2, 4], []), ("[2, 4]", "[]"))
    assert space.num_points == 8
    heads = space.dimensions["heads"].points
    assert heads
    recipe = space.recipe({"training.milestones": "[2, 4]", "heads": heads[0]})
    assert isinstance(recipe, ClassifierRecipe)
    assert (recipe.training.milestones, recipe.heads.hidden_dim) == ((2, 4), 8)
    assert recipe.training.heads_lr == BASE.training.heads_lr  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("key", "wanted", "points"),
    [
        ("heads.hidden_dim", {"low": 8, "high": 32, "step": 8}, (8, 16, 24, 32)),
        ("heads.num_hidden_layers", {"low": 1, "high": 3}, (1, 2, 3)),
        ("heads.dropout", {"low": 0.1, "high": 0.4, "step": 0.1}, (0.1, 0.2, 0.3, 0.4)),
        ("heads.dropout", {"low": 0, "high": 0.5}, None),
        ("heads.hidden_dim", {"low": 8, "high": 1024, "log": True}, None),
        ("training.weight_decay", {"low": "1e-4", "high": "1e-1", "log": True}, None),
    ],
)
def test_ranges(key: str, wanted: dict[str, object], points: tuple[float, ...] | None) -> None:
    space = parse_space({key: wanted}, BASE)
    assert space.dimensions[key].points == points
    assert space.num_points == (None if points is None else len(points))
    if points is None:
        with pytest.raises(
            SettingError, match=f"A grid needs a list of choices, and '{key}' is a range"
        ):
            _ = space.grid


@pytest.mark.parametrize(
    ("key", "wanted", "error", "message"),
    [
        (
            "training.heads_rl",
            [1e-3],
            RecipeError,
            "unknown key 'training.heads_rl'.\nDid you mean 'heads_lr'",
        ),
        ("heads.dropout", [0.1, 1.5], RecipeError, "heads.dropout: Input should be less than 1"),
        ("heads.dropout.more", [1], RecipeError, "'dropout' holds a plain value"),
        ("heads.dropout", [], SettingError, "the list of choices is empty"),
        ("heads.dropout", [0.1, 0.2, 0.1], SettingError, "the choice 0.1 is there twice"),
        ("heads.dropout", [0.1, "1e-1"], SettingError, "the choice 0.1 is there twice"),
        ("heads.dropout", 0.1, SettingError, "0.1 is neither a list of choices nor a range"),
        ("heads.dropout", None, SettingError, "None is neither a list"),
        ("heads.dropout", {"low": 0.5, "high": 0.1}, SettingError, "low 0.5 is not below high 0.1"),
        ("heads.dropout", {"low": 0.5}, SettingError, "a range has low and high.*high: Field required"),
        ("heads.dropout", {"low": 0.1, "high": 0.2, "stp": 1}, SettingError, "stp: Extra inputs"),
        ("heads.dropout", {"low": 0.1, "high": float("inf")}, SettingError, "high: .* finite number"),
        (
            "heads.dropout",
            {"low": 0.1, "high": 0.4, "step": 0.2},
            SettingError,
            "steps of 0.2 do not lead",
        ),
        (
            "heads.hidden_dim",
            {"low": 8, "high": 16, "step": 0.5},
            SettingError,
            "steps of 0.5 do not lead",
        ),
        ("heads.dropout", {"low": 0, "high": 0.4, "log": True}, SettingError, "a low above 0"),
        (
            "heads.dropout",
            {"low": 0.1, "high": 0.2, "log": True, "step": 0.1},
            SettingError,
            "without a step",
        ),
        ("heads.dropout", {"low": 0.1, "high": 2}, RecipeError, "less than 1"),
        ("training.compile", {"low": 0, "high": 1}, SettingError, "only numbers can be a range"),
        ("seed", [0, 1], SettingError, "seed: trials with another one could not be compared"),
        ("split.validation", [0.1, 0.2], SettingError, "could not be compared"),
        ("clean.repairs", ["a.csv"], SettingError, "could not be compared"),
    ],
)
def test_what_is_no_search_space(
    key: str, wanted: object, error: type[FacetryError], message: str
) -> None:
    with pytest.raises(error) as caught:
        parse_space({key: wanted}, BASE, origin="my.yaml")
    assert re.search(message, str(caught.value), flags=re.DOTALL), str(caught.value)


@pytest.mark.parametrize("text", ["", "- a", "{}", "a: [", "just text"])
def test_files_that_are_no_search_space(tmp_path: Path, text: str) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(SettingError, match=r"space\.yaml"):
        read_space(tmp_path / "space.yaml", BASE)
    with pytest.raises(SettingError, match=r"nowhere\.yaml' cannot be read"):
        read_space(tmp_path / "nowhere.yaml", BASE)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_fits_its_recipe(path: Path) -> None:
    header = re.match(r"(#.*\n)+", path.read_text())
    assert header
    assert "Needs:" in header[0]
    found = re.search(r"facetry tune (recipes/\S+) (spaces/\S+)", header[0])
    assert found
    assert found[2] == f"spaces/{path.name}"
    space = read_space(path, load_recipe(path.parent.parent / found[1]))
    if num_points := re.search(r"([\d,]+) points", header[0]):
        assert space.num_points == int(num_points[1].replace(",", ""))


def test_the_report_s_grid_is_whole(project: Path) -> None:
    content = yaml.safe_load((project / "spaces" / "table3.yaml").read_text())
    space = parse_space(content, BASE)
    assert space.num_points == 3888
    assert space.grid["heads.dropout"] == (0.1, 0.3, 0.4, 0.5)
