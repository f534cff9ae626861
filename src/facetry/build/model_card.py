"""The model card: the README of a model folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import PARTS, Split
from facetry.evaluation.metrics import HeadScore, Scores
from facetry.evaluation.tables import coverage_text
from facetry.models.cards import find_card
from facetry.models.config import BackboneConfig
from facetry.predictors.ensemble import Gain
from facetry.predictors.vlm.config import licence_of
from facetry.recipe import ClassifierRecipe, EnsembleRecipe, Recipe, VlmRecipe
from facetry.taxonomy import Taxonomy


def model_card(
    recipe: Recipe,
    catalogue: Catalogue,
    split: Split,
    scores: Mapping[str, Scores],
    notes: Sequence[tuple[str, str]] = (),
    gain: Gain | None = None,
) -> str:
    """Markdown on what the model predicts, its data, its scores per head and its licences.

    `notes` are pairs of a topic and a sentence on how the model was trained; `gain` is what an
    ensemble's learned weights add to its score.
    """
    counts = ", ".join(f"{len(split.rows(part)):,} {part}" for part in PARTS)
    rows = [
        f"| data | {catalogue.source.table.name}: {counts} products |",
        *(f"| {topic} | {sentence} |" for topic, sentence in notes),
        *([f"| learned weights | on the test part {gain.sentence()} |"] if gain else []),
    ]
    lines = [
        *_opening(recipe, catalogue.taxonomy, rows),
        "",
        "The recipe is `recipe.yaml`, the split `split.parquet`.",
    ]
    for part, each in scores.items():
        lines += ["", f"## Scores on the {part} part", "", *_score_lines(each)]
    return "\n".join(lines) + "\n"


def imported_card(recipe: Recipe, taxonomy: Taxonomy, file: str) -> str:
    """Markdown on a model that was imported from a `file` with other code's checkpoint."""
    lines = [
        *_opening(recipe, taxonomy, [f"| imported from | {file} |"]),
        "",
        "The recipe is `recipe.yaml`. Its settings of training are those for training the model again,",
        "not those it was trained with.",
    ]
    return "\n".join(lines) + "\n"


def _opening(recipe: Recipe, taxonomy: Taxonomy, rows: Sequence[str]) -> list[str]:
    """What the model predicts, and a table of `rows` on its origin and then the licences."""
    categories = ", ".join(taxonomy.categories)
    return [
        f"# Facetry model: {recipe.kind}",
        "",
        f"Predicts {taxonomy.num_heads} (category, attribute) pairs; the categories: {categories}.",
        "",
        "| | |",
        "|---|---|",
        *rows,
        *(
            f"| {each.what} {each.member} | {each.name}; licence of its weights: {each.licence} |"
            for each in weight_sources(recipe)
        ),
        "| licence of this model | that of its weights and of the data it learned from |",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSource:
    """An encoder, language model or set of hashes of a predictor or its `member`, and its licence."""

    what: str
    member: str
    name: str
    licence: str


def weight_sources(recipe: Recipe, member: str = "") -> list[WeightSource]:
    """The origins of the weights of a recipe, with its members, and their licences."""
    if isinstance(recipe, EnsembleRecipe):
        found = [weight_sources(each, name) for name, each in recipe.members.items()]
        return [source for sources in found for source in sources]
    if isinstance(recipe, VlmRecipe):
        name, licence = recipe.vlm.model, licence_of(recipe.vlm.model)
        return [WeightSource(what="language model", member=member, name=name, licence=licence)]
    if recipe.backbone is None:
        names, licence = ", ".join(recipe.hashes), "none: hashes have no weights"
        return [WeightSource(what="hashes", member=member, name=names, licence=licence)]
    encoders = {"backbone": recipe.backbone}
    if isinstance(recipe, ClassifierRecipe) and recipe.text:
        encoders["text encoder"] = recipe.text.reading(recipe.backbone)
    return [
        WeightSource(what=what, member=member, name=each.name, licence=_licence(each))
        for what, each in encoders.items()
    ]


def _licence(backbone: BackboneConfig) -> str:
    if backbone.weights == "none":
        return "none: trained from scratch"
    licence = find_card(backbone.name).licence
    if backbone.weights == "hub":
        return licence
    path = Path(backbone.weights)
    if path.is_dir():
        return f"that of the model folder {path.name}, which they came from"
    return f"{licence} (the card's; these came from a file)"


def _score_lines(scores: Scores) -> list[str]:
    low, high = scores.interval
    return [
        f"Score {scores.total:.4f} (95% interval {low:.4f} to {high:.4f}), {scores.num_labels:,} labels",
        f"(always answering the most frequent value scores {scores.baseline:.4f}).",
        coverage_text(scores),
        "",
        "| category | attribute | labels | micro-F1 | macro-F1 | harmonic mean | most frequent value |",
        "|---|---|--:|--:|--:|--:|--:|",
        *map(_head_row, scores.heads),
    ]


def _head_row(head: HeadScore) -> str:
    figures = (head.micro_f1, head.macro_f1, head.harmonic, head.baseline)
    texts = [f"{each:.3f}" for each in figures]
    cells = [head.category, head.attribute, f"{head.num_labels:,}", *texts]
    return f"| {' | '.join(cells)} |"
