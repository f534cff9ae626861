"""The recipe: one YAML file that fully describes how to build a predictor.

    kind: classifier
    backbone: {name: nano_vit, weights: none}
    training: {epochs: 12}

Keys that are left out have defaults; an unknown key is an error that names the nearest known one.
Relative paths in a recipe count from the recipe's folder; a member may be the path of a recipe.
"""

from facetry.recipe.kinds import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    SearchRecipe,
    VlmRecipe,
)
from facetry.recipe.reading import dump_recipe, load_recipe, override_key, parse_recipe, set_key
from facetry.recipe.shipped import find_recipe, shipped_recipes

__all__ = [
    "ClassifierRecipe",
    "EnsembleRecipe",
    "Recipe",
    "SearchRecipe",
    "VlmRecipe",
    "dump_recipe",
    "find_recipe",
    "load_recipe",
    "override_key",
    "parse_recipe",
    "set_key",
    "shipped_recipes",
]
