"""Facetry reads a product photo and its category and fills in the product's attributes.

The names below are the Python interface; each is imported from its module when it is first used. What
can go wrong is a `FacetryError`; the tree of them all is in `facetry.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facetry import errors
from facetry.errors import FacetryError

if TYPE_CHECKING:
    from facetry.build.load import load
    from facetry.build.train import train
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.catalogue.split import read_split
    from facetry.evaluation.metrics import evaluate, predict
    from facetry.recipe import load_recipe

__all__ = [
    "open_catalogue",
    "load_recipe",
    "train",
    "load",
    "read_split",
    "evaluate",
    "predict",
    "errors",
    "FacetryError",
]

_MODULES = {
    "open_catalogue": "facetry.catalogue.catalogue",
    "load_recipe": "facetry.recipe",
    "train": "facetry.build.train",
    "load": "facetry.build.load",
    "read_split": "facetry.catalogue.split",
    "evaluate": "facetry.evaluation.metrics",
    "predict": "facetry.evaluation.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'facetry' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
