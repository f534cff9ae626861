"""Rehearsals: a recipe with tiny networks in place of its large ones, but the same steps.

Every backbone is replaced by the nano card of its family, without pretrained weights, so that a recipe
that needs a GPU for days runs from start to end in seconds. The scores say nothing about the real ones.
"""

from typing import Any

from pydantic import BaseModel

from facetry.recipe import Recipe, parse_recipe
from facetry.runtime.config import UNCHANGED, facts_of


def nano(recipe: Recipe) -> Recipe:
    """The recipe with nano backbones and few epochs, but otherwise unchanged.

    Raises:
        RecipeError: a backbone whose family has no nano card.

    >>> from facetry.recipe import parse_recipe
    >>> nano(parse_recipe({"backbone": {"name": "ViT-L-14"}})).backbone.name
    'nano_vit'
    """
    return parse_recipe(shrunk(recipe), origin="--nano")


def shrunk(config: BaseModel) -> dict[str, Any]:
    """The recipe as plain containers, with the nano value of every key that has one, also in members."""
    content = config.model_dump(mode="json")
    for name, field in type(config).model_fields.items():
        value, nano_value = getattr(config, name), facts_of(field).nano
        if nano_value is not UNCHANGED:
            content[name] = nano_value(content[name]) if callable(nano_value) else nano_value
        elif isinstance(value, BaseModel):
            content[name] = shrunk(value)
        elif name == "members":
            content[name] = {member: shrunk(each) for member, each in value.items()}
    return content
