"""The model card: the README of a model folder."""

from collections.abc import Mapping, Sequence

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import PARTS, Split
from facetry.evaluation.metrics import HeadScore, Scores
from facetry.models.cards import find_card
from facetry.recipe import ClassifierRecipe, Recipe


def model_card(
    recipe: Recipe,
    catalogue: Catalogue,
    split: Split,
    scores: Mapping[str, Scores],
    cleaning: Sequence[str] = (),
) -> str:
    """Markdown: what the model is, what it saw, its scores per head, the licences of its weights.

    `cleaning` are sentences on what was done to the training labels.
    """
    taxonomy = catalogue.taxonomy
    categories = ", ".join(taxonomy.categories)
    counts = ", ".join(f"{len(split.rows(part)):,} {part}" for part in PARTS)
    lines = [
        f"# Facetry model: {recipe.kind}",
        "",
        f"Predicts {taxonomy.num_heads} (category, attribute) pairs; the categories: {categories}.",
        "",
        "| | |",
        "|---|---|",
        f"| data | {catalogue.source.table.name}: {counts} products |",
        *(f"| cleaning | {sentence} |" for sentence in cleaning),
        *_licence_rows(recipe),
        "| licence of this model | that of its weights and of the data it learned from |",
        "",
        "The recipe is `recipe.yaml`, the split `split.parquet`.",
    ]
    for part, each in scores.items():
        lines += ["", f"## Scores on the {part} part", "", *_score_lines(each)]
    return "\n".join(lines) + "\n"


def _licence_rows(recipe: Recipe) -> list[str]:
    members = {"": recipe} if isinstance(recipe, ClassifierRecipe) else recipe.members
    rows = []
    for name, member in members.items():
        if not isinstance(member, ClassifierRecipe):
            rows += _licence_rows(member)
            continue
        backbone = member.backbone
        card = find_card(backbone.name)
        licence = "none: trained from scratch" if backbone.weights == "none" else card.licence
        if backbone.weights not in {"none", "hub"}:
            licence += " (the card's; these came from a file)"
        rows.append(f"| backbone {name} | {card.name}; licence of its weights: {licence} |")
    return rows


def _score_lines(scores: Scores) -> list[str]:
    low, high = scores.interval
    return [
        f"Score {scores.total:.4f} (95% interval {low:.4f} to {high:.4f}), {scores.num_labels:,} labels",
        f"(always answering the most frequent value scores {scores.baseline:.4f}).",
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
