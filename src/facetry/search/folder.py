"""A search in its model folder.

`index/` with the indexes and their products, `search.json`, `preprocess.json`, and, where a backbone
tells what is alike, its `weights.safetensors`.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from facetry.errors import ModelFolderError
from facetry.files import sha256, write_text
from facetry.models.checkpoint import load_backbone, save_preprocess, save_weights
from facetry.models.embed import BackboneEncoder, Encoder
from facetry.models.folder import PREPROCESS, WEIGHTS, ModelFolder
from facetry.search.collection import FOLDER, Collection
from facetry.search.config import HashName, SearchConfig
from facetry.search.hashes import HashEncoder
from facetry.search.predictor import SimilaritySearch

SETTINGS = "search.json"
_ENCODER_FILES = (WEIGHTS, PREPROCESS)  # what features depend on


class _Parts(BaseModel):
    """The part of a search's recipe that says what is compared, and how the nearest vote."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    hashes: tuple[HashName, ...] = ()
    search: SearchConfig = SearchConfig()


def save_encoder(folder: Path, encoder: Encoder) -> None:
    """Write what makes features: preprocessing, and a backbone's weights."""
    save_preprocess(folder, encoder.preprocess)
    if isinstance(encoder, BackboneEncoder):
        save_weights(folder / WEIGHTS, encoder.backbone)


def save_search(folder: Path, search: SimilaritySearch) -> None:
    """Write the indexed products and the settings, beside the encoder (see `save_encoder`)."""
    search.collection.save(folder / FOLDER)
    files = [folder / name for name in _ENCODER_FILES]
    encoder = " ".join(sha256(file) for file in files if file.is_file())
    settings = {"num_neighbours": search.num_neighbours, "encoder": encoder}
    write_text(folder / SETTINGS, json.dumps(settings, indent=1))


def load_search(folder: ModelFolder, *, to_append: bool = False) -> SimilaritySearch:
    """Load a search from its model folder.

    Its indexes lie in the memory that they are mapped to, unless they are `to_append`.

    Raises:
        ModelFolderError: a file is missing, damaged, or does not fit the others.
    """
    try:
        recipe = _Parts.model_validate(folder.recipe)
        settings = json.loads((folder.path / SETTINGS).read_text(encoding="utf-8"))
        num_neighbours, encoder_sums = int(settings["num_neighbours"]), str(settings["encoder"])
        is_same = encoder_sums == _encoder_sums(folder)
        encoder = _load_encoder(folder, recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFolderError(f"{folder.path} cannot be loaded: {error}") from error
    collection = Collection.load(
        folder.path / FOLDER, folder.taxonomy, is_binary=bool(recipe.hashes), to_append=to_append
    )
    sizes = {index.num_columns for index in collection.indexes.values()}
    if not is_same or sizes != {encoder.feature_size}:
        raise ModelFolderError(
            f"The index in {folder.path} was built by another backbone, or with other preprocessing.",
            hint="Build it anew: `facetry train` with the folder's recipe.yaml.",
        )
    return SimilaritySearch(
        collection=collection, encoder=encoder, config=recipe.search, num_neighbours=num_neighbours
    )


def _load_encoder(folder: ModelFolder, recipe: _Parts) -> Encoder:
    """What makes features, as `save_encoder` wrote it."""
    if recipe.hashes:
        return HashEncoder(recipe.hashes, folder.preprocess)
    return BackboneEncoder(load_backbone(folder))


def _encoder_sums(folder: ModelFolder) -> str:
    """The checksums of what features depend on, as `save_search` wrote them."""
    return " ".join(folder.checksums[name] for name in _ENCODER_FILES if name in folder.checksums)
