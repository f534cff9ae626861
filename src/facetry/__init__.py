"""Facetry reads a product photo and its category and fills in the product's attributes.

The names below are the Python interface; each is imported from its module when it is first used. What
can go wrong is a `FacetryError`; the tree of them all is in `facetry.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from facetry import errors
from facetry.errors import FacetryError

if TYPE_CHECKING:
    from facetry.audit.folder import audit
    from facetry.build.model import Model, fit, load
    from facetry.build.train import train
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.catalogue.split import read_split
    from facetry.evaluation.metrics import evaluate, predict
    from facetry.predictions import Embedder, Predictions, Predictor
    from facetry.recipe import load_recipe
    from facetry.training.tracking.records import Tracker

    __version__: str

__all__ = [
    "fit",
    "load",
    "Model",
    "audit",
    "open_catalogue",
    "load_recipe",
    "train",
    "read_split",
    "evaluate",
    "predict",
    "Predictor",
    "Embedder",
    "Predictions",
    "Tracker",
    "errors",
    "FacetryError",
    "__version__",
]

_MODULES = {
    "fit": "facetry.build.model",
    "load": "facetry.build.model",
    "Model": "facetry.build.model",
    "open_catalogue": "facetry.catalogue.catalogue",
    "load_recipe": "facetry.recipe",
    "train": "facetry.build.train",
    "read_split": "facetry.catalogue.split",
    "evaluate": "facetry.evaluation.metrics",
    "predict": "facetry.evaluation.metrics",
    "Predictor": "facetry.predictions",
    "Embedder": "facetry.predictions",
    "Predictions": "facetry.predictions",
    "Tracker": "facetry.training.tracking.records",
}


def __getattr__(name: str) -> Any:
    if name == "audit":
        return import_module("facetry.audit")  # the package, which can be called
    if name == "__version__":
        return import_module("importlib.metadata").version("facetry")
    if name not in _MODULES:
        raise AttributeError(f"module 'facetry' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
