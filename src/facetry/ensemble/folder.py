"""An ensemble's model folder: `members/NAME/` are model folders of their own."""

from collections.abc import Callable
from pathlib import Path

from facetry.ensemble.predictor import Ensemble
from facetry.ensemble.weighting import read_weighting
from facetry.models.folder import read_recipe, read_taxonomy
from facetry.predictions import Predictor
from facetry.recipe import EnsembleRecipe, parse_recipe


def load_ensemble(folder: Path, load_member: Callable[[Path], Predictor]) -> Ensemble:
    """The ensemble in an opened folder, of what `load_member` makes of each member's folder.

    Raises:
        ModelFolderError: weights of the members that do not fit them.
        PredictorMismatch: members that cannot work together.
    """
    recipe = parse_recipe(read_recipe(folder), origin=str(folder / "recipe.yaml"))
    assert isinstance(recipe, EnsembleRecipe)
    members = {name: load_member(folder / "members" / name) for name in recipe.members}
    if recipe.weighting == "fixed":
        return Ensemble(members, recipe.weights or None)
    weighting = read_weighting(folder, list(members), read_taxonomy(folder))
    return Ensemble(members, recipe.weights or None, weighting)
