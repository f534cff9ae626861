"""Photos embedded once by a frozen backbone, and heads trained on the features, split by split.

Shapes: N products of the catalogue, D features, A slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.evaluation.metrics import Answers
from facetry.models.classifier.heads import AnyHeads, build_heads, probabilities
from facetry.models.towers.embed import Embedding, embed_products
from facetry.models.towers.image import build_backbone
from facetry.recipe import ClassifierRecipe, load_recipe, parse_recipe
from facetry.runtime.progress import SILENT
from facetry.training.data import line_up, useful_rows
from facetry.training.stored_features import FeatureSet, fit_heads
from facetry.training.targets.cleaning import clean

RECIPE = Path(__file__).parent.parent / "recipes" / "cpu" / "mobilenetv2_frozen.yaml"


@dataclass(frozen=True, kw_only=True, eq=False)
class Frozen:
    """A catalogue with the features (N, D) that a recipe's backbone makes of its photos."""

    recipe: ClassifierRecipe
    catalogue: Catalogue
    embedding: Embedding


def freeze(catalogue: Catalogue, weights: str, overrides: list[str]) -> Frozen:
    """Embed a catalogue with MobileNetV2, its `weights` a file, `hub` or `none`."""
    recipe = load_recipe(RECIPE, [f"backbone.weights={weights}", *overrides])
    assert isinstance(recipe, ClassifierRecipe)
    return Frozen(recipe=recipe, catalogue=catalogue, embedding=_embed(recipe, catalogue))


def _embed(recipe: ClassifierRecipe, catalogue: Catalogue) -> Embedding:
    return embed_products(build_backbone(recipe.backbone, recipe.image), catalogue.products())


def with_changes(frozen: Frozen, changes: Mapping[str, Any]) -> Frozen:
    """The same catalogue under a recipe with some keys changed; embedded anew where they ask for it."""
    before, recipe = frozen.recipe, changed(frozen.recipe, changes)
    if (recipe.backbone, recipe.image) == (before.backbone, before.image):
        return replace(frozen, recipe=recipe)
    return replace(frozen, recipe=recipe, embedding=_embed(recipe, frozen.catalogue))


def changed(recipe: ClassifierRecipe, changes: Mapping[str, Any]) -> ClassifierRecipe:
    """A recipe with some of its keys changed."""
    result = parse_recipe(_merged(recipe.model_dump(mode="json"), changes))
    assert isinstance(result, ClassifierRecipe)
    return result


def _merged(content: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested containers with some of their keys replaced."""
    result = dict(content or {})
    for key, value in changes.items():
        result[key] = _merged(result.get(key), value) if isinstance(value, Mapping) else value
    return result


def answers_on_test(frozen: Frozen, split: Split, seed: int) -> Answers:
    """What heads answer on a split's test part that were trained on its other parts."""
    rows = split.rows("test")
    return answers_of(frozen.catalogue, rows, top_on_test(frozen, split, seed))


def answers_of(catalogue: Catalogue, rows: np.ndarray, top: np.ndarray) -> Answers:
    """The places `top` (n, A) of the most probable values against the labels of some rows."""
    labels = catalogue.labels[rows].astype(np.int64)
    return Answers.of(catalogue.taxonomy, catalogue.category_codes[rows], labels, top)


def top_on_test(frozen: Frozen, split: Split, seed: int) -> np.ndarray:
    """The most probable values (n, A) that heads see on a test part, trained on the other parts."""
    catalogue, embedding = frozen.catalogue, frozen.embedding
    rows = useful_rows(catalogue, split)
    examples = line_up(catalogue, split, rows, [embedding.problems[row] for row in rows])
    features = embedding.features[rows]
    asks = frozen.recipe.clean.neighbours != "none"
    examples, _ = clean(
        examples, catalogue.taxonomy, frozen.recipe.clean, features if asks else None, SILENT
    )
    torch.manual_seed(seed)
    heads = build_heads(catalogue.taxonomy, embedding.features.shape[1], frozen.recipe.heads)
    given = FeatureSet(
        taxonomy=catalogue.taxonomy, features=torch.from_numpy(features), examples=examples
    )
    fit_heads(given, heads, frozen.recipe.training, seed=seed)
    return _top(frozen, heads, split.rows("test"))


@torch.no_grad()
def _top(frozen: Frozen, heads: AnyHeads, rows: np.ndarray) -> np.ndarray:
    """Places of the most probable values; -1 for a product without a readable photo."""
    catalogue, embedding = frozen.catalogue, frozen.embedding
    is_answerable = (catalogue.category_codes[rows] >= 0) & (embedding.features[rows] != 0).any(axis=1)
    top = np.full((len(rows), catalogue.taxonomy.num_slots), -1)
    asked = rows[is_answerable]
    logits = heads(
        torch.from_numpy(embedding.features[asked]), torch.from_numpy(catalogue.category_codes[asked])
    )
    top[is_answerable] = probabilities(logits).argmax(dim=-1).numpy()
    return top
