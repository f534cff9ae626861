"""Rehearsals: any recipe with small parts in place of its large ones, and the same steps.

Every backbone becomes the nano card of its family, without pretrained weights, so that a recipe that
wants a GPU for days runs from start to end in seconds. Its scores say nothing of the real recipe's.
"""

from collections.abc import Mapping
from typing import Any

from facetry.errors import RecipeError
from facetry.models.cards import CARDS, find_card
from facetry.recipe import Recipe, parse_recipe

NANO_CARDS: Mapping[str, str] = {
    "vit": "nano_vit",
    "convnext": "nano_convnext",
    "coca": "nano_coca",
    "seresnext": "nano_seresnext",
    "swin": "nano_swin",
    "mobilenet": "nano_convnext",
}
"""The card that stands for each family of backbones."""

_PLAIN_IMAGE = {"size_px": None, "mean": None, "std": None, "interpolation": None}
_HEADS = {"hidden_dim": 32, "num_hidden_layers": 1}
_TRAINING = {
    "epochs": 3,
    "backbone_lr": 1e-3,
    "heads_lr": 2e-3,
    "milestones": [2],
    "warmup_epochs": 0.5,
    "precision": "fp32",
}
_VLM = {"model": "tiny", "revision": None}


def nano(recipe: Recipe) -> Recipe:
    """The recipe with nano parts, a few epochs, and everything else as it was.

    Raises:
        RecipeError: a backbone of a family that has no nano card.

    >>> from facetry.recipe import parse_recipe
    >>> nano(parse_recipe({"backbone": {"name": "ViT-L-14"}})).backbone.name
    'nano_vit'
    """
    return parse_recipe(_shrunk(recipe.model_dump(mode="json")), origin="--nano")


def _shrunk(content: dict[str, Any]) -> dict[str, Any]:
    """A recipe's plain containers with small parts, its members' too."""
    if "members" in content:
        return {
            **content,
            "members": {name: _shrunk(each) for name, each in content["members"].items()},
        }
    result = dict(content)
    for part, key in ((result, "backbone"), (result.get("clean", {}), "neighbour_backbone")):
        if part.get(key):
            part[key] = _nano_backbone(part[key])
    if result.get("text"):
        result["text"] = result["text"] | {"encoder": None, "weights": None}
    if "image" in result:
        result["image"] = _nano_image(result["image"])
    if "heads" in result:
        result["heads"] = result["heads"] | _HEADS | {"start": None}
        batch_size = min(32, result["training"]["batch_size"])
        result["training"] = result["training"] | _TRAINING | {"batch_size": batch_size}
    if "vlm" in result:
        result["vlm"] = result["vlm"] | _VLM
    return result


def _nano_backbone(backbone: dict[str, Any]) -> dict[str, Any]:
    """The nano card of the backbone's family, as frozen as the backbone."""
    family = find_card(backbone["name"]).family
    if NANO_CARDS.get(family) not in CARDS:
        raise RecipeError(
            f"No small backbone stands for {backbone['name']!r}.",
            hint=f"Families that have one: {', '.join(NANO_CARDS)}.",
        )
    return {"name": NANO_CARDS[family], "weights": "none", "frozen": backbone.get("frozen", False)}


def _nano_image(image: dict[str, Any]) -> dict[str, Any]:
    """The nano card's own numbers; what removes backgrounds needs no file."""
    background = "grabcut" if image["background"] == "rembg" else image["background"]
    return {**image, **_PLAIN_IMAGE, "background": background, "background_model": None}
