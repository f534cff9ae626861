"""An ensemble's model folder: `members/NAME/` are model folders of their own."""

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.ensemble.predictor import Ensemble
from facetry.ensemble.weighting import read_weighting
from facetry.errors import ModelFolderError
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictor


class _Parts(BaseModel):
    """The part of an ensemble's recipe that says how its members' answers are weighted."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights: dict[str, float] = {}
    weighting: Literal["fixed", "per_head", "gate"] = "fixed"


def load_ensemble(folder: ModelFolder, load_member: Callable[[ModelFolder], Predictor]) -> Ensemble:
    """The ensemble in a model folder, of what `load_member` makes of each member's folder.

    Raises:
        ModelFolderError: a damaged recipe, or weights of the members that do not fit them.
        PredictorMismatch: members that cannot work together.
    """
    try:
        recipe = _Parts.model_validate(folder.recipe)
    except ValidationError as error:
        raise ModelFolderError(f"{folder.path} cannot be loaded: {error}") from error
    members = {name: load_member(member) for name, member in folder.members.items()}
    if recipe.weighting == "fixed":
        return Ensemble(members, recipe.weights or None)
    weighting = read_weighting(folder.path, list(members), folder.taxonomy)
    return Ensemble(members, recipe.weights or None, weighting)
