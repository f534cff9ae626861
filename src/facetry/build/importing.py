"""Import of checkpoints that other code trained, as model folders."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facetry.build.model_card import imported_card
from facetry.errors import CheckpointError
from facetry.models.cards import find_card
from facetry.recipe import ClassifierRecipe, dump_recipe, override_key, parse_recipe
from facetry.runtime.files import write_text, writing_folder
from facetry.taxonomy import Taxonomy


def import_checkpoint(
    file: str | Path,
    backbone: str,
    out: str | Path,
    *,
    taxonomy: Taxonomy | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Write the model folder `out` from a checkpoint of the paper's training code, and return `out`.

    `taxonomy` None takes the checkpoint's own. `overrides` change the folder's recipe, such as
    `backbone.tag=openai`.

    Raises:
        BackboneError: the backbone is unknown, or the file is damaged or has another one's weights.
        CheckpointError: the file has another format or heads that cannot be imported, or `out` exists.
        RecipeError: an override is not allowed.
    """
    from facetry.models.classifier.published import read_checkpoint
    from facetry.models.classifier.serialization import save_classifier
    from facetry.models.folder import METRICS, write_checksums

    file, out = Path(file), Path(out)
    if out.exists():
        raise CheckpointError(f"{out} exists already.", hint="Choose another --out.")
    model = find_card(backbone).model
    checkpoint = read_checkpoint(file)
    content: dict[str, Any] = {
        # open_clip's CoCa normalises the features of `encode_image`, on which the heads were trained.
        "backbone": {"name": backbone, "weights": str(file), "unit_length": "coca" in model},
        "heads": checkpoint.heads.model_dump(),
    }
    for override in overrides:
        override_key(content, override)
    recipe = parse_recipe(content, origin=f"recipe of {file.name}")
    if not isinstance(recipe, ClassifierRecipe) or recipe.heads != checkpoint.heads:
        raise CheckpointError(
            f"{file.name} is of a classifier with the heads {checkpoint.heads}.",
            hint="Leave kind and heads as they are.",
        )
    classifier = checkpoint.classifier(taxonomy or checkpoint.taxonomy, recipe.backbone, recipe.image)
    with writing_folder(out) as folder:
        save_classifier(folder, classifier)
        write_text(folder / "recipe.yaml", dump_recipe(recipe))
        write_text(folder / METRICS, json.dumps({}))
        write_text(folder / "README.md", imported_card(recipe, classifier.taxonomy, file.name))
        write_checksums(folder)
    return out
