"""The recipes that come with Facetry, by the names of their files without folder and ending."""

from collections.abc import Mapping
from pathlib import Path

from facetry.errors import RecipeError, nearest
from facetry.runtime.resumable import stopped_hint

_FOLDER = Path(__file__).parents[1] / "recipes"


def shipped_recipes() -> Mapping[str, Path]:
    """The file of each recipe that comes with Facetry, by its name.

    >>> shipped_recipes()["mobilenetv2_frozen"].name
    'mobilenetv2_frozen.yaml'
    """
    return {path.stem: path for path in sorted(_FOLDER.rglob("*.yaml"))}


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe that is named by its path, or by the name of one that is shipped.

    A file in the working folder goes before a shipped recipe of that name.

    Raises:
        RecipeError: there is neither.
    """
    path, shipped = Path(recipe), shipped_recipes()
    if path.is_file():
        return path
    if (found := shipped.get(str(recipe))) is not None:
        return found
    if path.exists():
        raise RecipeError(
            f"The recipe {str(recipe)!r} cannot be read: it is no file.",
            hint="Name a recipe's YAML file, or a recipe that is shipped, such as mobilenetv2_frozen.",
        )
    raise RecipeError(
        f"The recipe {str(recipe)!r} cannot be read: there is no such file, and none of that name is "
        "shipped.",
        hint=stopped_hint(path) or nearest(path.stem, shipped),
    )
