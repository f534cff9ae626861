"""A search in its model folder.

`index/` with the indexes and their products, `search.json`, `preprocess.json`, and, where a backbone
tells what is alike, its `weights.safetensors`.
"""

import json
from pathlib import Path

from facetry.errors import ModelFolderError
from facetry.files import sha256, write_text
from facetry.models.checkpoint import load_backbone, save_preprocess, save_weights
from facetry.models.embed import BackboneEncoder, Encoder
from facetry.models.folder import PREPROCESS, WEIGHTS, load_preprocess, read_recipe, read_taxonomy
from facetry.recipe import SearchRecipe, parse_recipe
from facetry.search.collection import FOLDER, Collection
from facetry.search.hashes import HashEncoder
from facetry.search.predictor import SimilaritySearch

SETTINGS = "search.json"


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write what makes features: preprocessing, and a backbone's weights."""
    save_preprocess(folder, encoder.preprocess)
    if isinstance(encoder, BackboneEncoder):
        save_weights(folder / WEIGHTS, encoder.backbone)


def save_search(folder: Path, search: SimilaritySearch) -> None:
    """Write the indexed products and the settings, beside the encoder (see `save_encoder`)."""
    search.collection.save(folder / FOLDER)
    settings = {"num_neighbours": search.num_neighbours, "encoder": _fingerprint(folder)}
    write_text(folder / SETTINGS, json.dumps(settings, indent=1))


def load_search(folder: Path, *, to_append: bool = False) -> SimilaritySearch:
    """Load a search from an opened folder (see `models.folder.open_folder`).

    Its indexes lie in the memory that they are mapped to, unless they are `to_append`.

    Raises:
        ModelFolderError: a file is missing, damaged, or does not fit the others.
    """
    recipe = parse_recipe(read_recipe(folder), origin=str(folder / "recipe.yaml"))
    assert isinstance(recipe, SearchRecipe)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        num_neighbours, fingerprint = int(settings["num_neighbours"]), str(settings["encoder"])
        is_same = fingerprint == _fingerprint(folder)
        encoder = load_encoder(folder, recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{folder} cannot be loaded: {error}") from error
    collection = Collection.load(
        folder / FOLDER, read_taxonomy(folder), is_binary=bool(recipe.hashes), to_append=to_append
    )
    sizes = {index.num_columns for index in collection.indexes.values()}
    if not is_same or sizes != {encoder.feature_size}:
        raise ModelFolderError(
            f"The index in {folder} was built by another backbone, or with other preprocessing.",
            hint="Build it anew: `facetry train` with the folder's recipe.yaml.",
        )
    return SimilaritySearch(
        collection=collection, encoder=encoder, config=recipe.search, num_neighbours=num_neighbours
    )


def load_encoder(folder: Path, recipe: SearchRecipe) -> Encoder:
    """What makes features, as `save_encoder` wrote it."""
    if recipe.backbone:
        return BackboneEncoder(load_backbone(folder))
    return HashEncoder(recipe.hashes, load_preprocess(folder))


def _fingerprint(folder: Path) -> str:
    """What features depend on: the weights and the preprocessing."""
    files = [folder / name for name in (WEIGHTS, PREPROCESS)]
    return " ".join(sha256(file) for file in files if file.is_file())
