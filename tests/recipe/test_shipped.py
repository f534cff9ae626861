"""Recipes that come with Facetry are found by their names."""

from pathlib import Path

import pytest

from facetry.errors import RecipeError
from facetry.recipe import EnsembleRecipe, find_recipe, load_recipe, shipped_recipes

RECIPES = Path(__file__).parents[2] / "recipes"


def test_every_recipe_of_the_project_has_a_name_of_its_own() -> None:
    files = {path.relative_to(RECIPES) for path in RECIPES.rglob("*.yaml")}
    assert {path.stem for path in files} == set(shipped_recipes())
    assert len(files) == len(shipped_recipes())


def test_found_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_recipe("mobilenetv2_frozen") == load_recipe(RECIPES / "cpu" / "mobilenetv2_frozen.yaml")
    monkeypatch.chdir(tmp_path)
    Path("mobilenetv2").mkdir()
    assert find_recipe("mobilenetv2").is_file(), "a folder of that name is no recipe"
    Path("demo").write_text("kind: search", encoding="utf-8")
    assert find_recipe("demo") == Path("demo"), "a person's own file goes first"


def test_near_names_on_a_miss() -> None:
    with pytest.raises(RecipeError, match="none of that name is shipped") as caught:
        find_recipe("mobilenet2_frozen")
    assert caught.value.hint == "Did you mean 'mobilenetv2_frozen'?"


def test_weights_go_to_every_backbone(tmp_path: Path) -> None:
    recipe = load_recipe("ensemble", weights=tmp_path)
    assert isinstance(recipe, EnsembleRecipe)
    weights = {member.model_dump()["backbone"]["weights"] for member in recipe.members.values()}
    assert weights == {str(tmp_path)}


@pytest.mark.parametrize(
    ("name", "why"), [("hash_search", "no backbone"), ("14-ensemble-vit-h14-coca", "several: ")]
)
def test_weights_for_no_backbone_or_for_several_kinds(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=why):
        load_recipe(name, weights=tmp_path)
