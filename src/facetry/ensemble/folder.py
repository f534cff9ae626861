"""An ensemble's model folder: `members/NAME/` are model folders of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.ensemble.predictor import Ensemble
from facetry.ensemble.weighting import read_weighting
from facetry.errors import ModelFolderError
from facetry.models.folder import read_recipe, read_taxonomy
from facetry.predictions import Predictor


class _Parts(BaseModel):
    """The part of an ensemble's recipe that loading it needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    members: dict[str, Any]
    weights: dict[str, float] = {}
    weighting: str = "fixed"


def load_ensemble(folder: Path, load_member: Callable[[Path], Predictor]) -> Ensemble:
    """The ensemble in an opened folder, of what `load_member` makes of each member's folder.

    Raises:
        ModelFolderError: a damaged recipe, or weights of the members that do not fit them.
        PredictorMismatch: members that cannot work together.
    """
    try:
        parts = _Parts.model_validate(read_recipe(folder))
    except ValidationError as error:
        raise ModelFolderError(f"{folder} cannot be loaded: {error}") from error
    members = {name: load_member(folder / "members" / name) for name in parts.members}
    if parts.weighting == "fixed":
        return Ensemble(members, parts.weights or None)
    weighting = read_weighting(folder, list(members), read_taxonomy(folder))
    return Ensemble(members, parts.weights or None, weighting)
