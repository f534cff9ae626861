"""Builds a similarity search from a catalogue, and appends products to one.

Appending replaces the model folder as a whole, so that a reader never sees half of it.

Shapes: W products to choose the number of neighbours on, D features.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.errors import ModelFolderError, NotEnoughData
from facetry.evaluation.metrics import Answers, score
from facetry.models.folder import ModelFolder, open_folder, write_checksums
from facetry.models.towers.device import pick_device
from facetry.models.towers.embed import BackboneEncoder, Embedding, Encoder, encode_products
from facetry.models.towers.image import build_backbone
from facetry.predictors.search.collection import FOLDER, Collection, to_table
from facetry.predictors.search.config import SearchSections
from facetry.predictors.search.hashes import HashEncoder
from facetry.predictors.search.predictor import SimilaritySearch, load_search, save_encoder, save_search
from facetry.product import Product
from facetry.runtime.files import link_folder, place_folder
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import lock
from facetry.taxonomy import OFF_LIST

CHOICES: Final = (1, 3, 5, 9, 15, 25, 45, 75)
"""Numbers of neighbours that `auto` tries; of those with equal scores it takes the smallest."""

_DEFAULT_NEIGHBOURS = 15  # if there is no product to choose it on
_FEATURES = "features.safetensors"

Rows = NDArray[np.int64]


def build_search(
    recipe: SearchSections, catalogue: Catalogue, split: Split, folder: Path, reporter: Reporter
) -> SimilaritySearch:
    """Index the training part, choose how many neighbours vote, and write the search into `folder`.

    Raises:
        BackboneError: the backbone or its weights are not available.
        NotEnoughData: there is nothing to index.
    """
    encoder = _make_encoder(recipe)
    number = recipe.search.num_neighbours
    is_auto = number == "auto"
    train, validation = split.rows("train"), split.rows("validation")
    rows = np.concatenate([train, validation]) if is_auto else train
    rows = rows[catalogue.is_labelled[rows]]
    products = catalogue.products(rows)
    file = folder / "training" / _FEATURES
    embedding = encode_products(encoder, products, file=file, reporter=reporter)
    is_readable = np.array([not problem for problem in embedding.problems], dtype=bool)
    _report_unreadable(is_readable, reporter)
    is_indexed = is_readable & np.isin(rows, train)
    if not is_indexed.any():
        raise _nothing_to_index(split, embedding)
    indexed = [products[row] for row in np.flatnonzero(is_indexed)]
    search = SimilaritySearch(
        collection=Collection.build(
            catalogue.taxonomy,
            to_table(catalogue.taxonomy, indexed),
            embedding.features[is_indexed],
            recipe.search.index,
        ),
        encoder=encoder,
        config=recipe.search,
        num_neighbours=_DEFAULT_NEIGHBOURS if number == "auto" else number,
    )
    if is_auto:
        others = is_readable & ~is_indexed
        search = _tuned(search, catalogue, rows[others], embedding.features[others], reporter)
    save_encoder(folder, encoder)
    save_search(folder, search)
    collection = Collection.load(
        folder / FOLDER, catalogue.taxonomy, is_binary=bool(recipe.hashes), to_append=False
    )
    return replace(search, collection=collection)  # memory-mapped, in place of the copy in memory


def _make_encoder(recipe: SearchSections) -> Encoder:
    if recipe.backbone is None:
        return HashEncoder.of(recipe.hashes, recipe.image)
    import torch

    torch.manual_seed(recipe.seed)  # a backbone without weights is initialised at random
    return BackboneEncoder(build_backbone(recipe.backbone, recipe.image).to(pick_device()))


def _report_unreadable(is_readable: NDArray[np.bool_], reporter: Reporter) -> None:
    if num_unreadable := int((~is_readable).sum()):
        reporter.say(
            f"{num_unreadable:,} of {len(is_readable):,} products have no readable photo and are left "
            "out."
        )


def _nothing_to_index(split: Split, embedding: Embedding) -> NotEnoughData:
    reasons = sorted({problem for problem in embedding.problems if problem})
    return NotEnoughData(
        f"Nothing to index: of {len(split.rows('train'))} products in the training part none has a "
        f"label and a readable photo{': ' + ', '.join(reasons) if reasons else ''}.",
        hint="`facetry check` lists what is wrong with the catalogue.",
    )


def _tuned(
    search: SimilaritySearch,
    catalogue: Catalogue,
    rows: Rows,
    features: NDArray[np.float32] | NDArray[np.uint8],
    reporter: Reporter,
) -> SimilaritySearch:
    """The search with the number of neighbours that scores best on these rows (W)."""
    if not len(rows):
        reporter.say(
            f"The validation part has nothing to choose on: {_DEFAULT_NEIGHBOURS} neighbours vote."
        )
        return search
    scores = {}
    for number in CHOICES:
        top = search.vote(features, catalogue.category_codes[rows], number).argmax(axis=2)
        answers = Answers.of(
            catalogue.taxonomy, catalogue.category_codes[rows], catalogue.labels[rows], top
        )
        scores[number] = score(answers, num_resamples=0).total
    best = max(scores, key=lambda number: scores[number])
    listed = ", ".join(f"{number}: {each:.4f}" for number, each in scores.items())
    reporter.say(f"{best} neighbours vote. Scores on the validation part: {listed}.")
    return replace(search, num_neighbours=best)


@dataclass(frozen=True, kw_only=True)
class Appended:
    """How many products were added to an index, and how many were left out, by reason."""

    num_added: int
    left_out: Counter[str] = field(default_factory=Counter)


def append(
    folder: str | Path | ModelFolder, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Appended:
    """Add products to the index in a model folder, without rebuilding it.

    The folder is unchanged until a new one replaces it. Left out are products whose id is in the index
    already, and those without a readable photo or a label in the taxonomy.

    Raises:
        ModelFolderError: the folder is damaged or has no index.
        FolderInUse: another process writes it.
    """
    folder = require_index(folder)
    with lock(folder.path):
        search = load_search(folder, to_append=True)
        fresh, left_out = _select_new(search, products)
        embedding = encode_products(search.encoder, fresh, reporter=reporter)
        left_out.update(problem for problem in embedding.problems if problem)
        is_added = np.array([not problem for problem in embedding.problems], dtype=bool)
        if is_added.any():
            table = to_table(search.taxonomy, [fresh[index] for index in np.flatnonzero(is_added)])
            collection = search.collection.extended(table, embedding.features[is_added])
            _replace(folder.path, collection, table["category"].unique().to_list())
    return Appended(num_added=int(is_added.sum()), left_out=left_out)


def require_index(folder: str | Path | ModelFolder) -> ModelFolder:
    """Open a model folder that has an index of products.

    Raises:
        ModelFolderError: the folder has no index, or is not complete.
    """
    folder = open_folder(folder)
    if folder.kind == "search":
        return folder
    inner = [each.path for each in folder.members.values() if each.kind == "search"]
    hint = "Build one from a recipe of the kind search, such as recipes/cpu/mobilenetv2_search.yaml."
    raise ModelFolderError(
        f"{folder.path} holds a predictor of the kind {folder.kind!r}, which has no index of products.",
        hint=f"Name its member {inner[0]}, which has one." if inner else hint,
    )


def _select_new(
    search: SimilaritySearch, products: Sequence[Product]
) -> tuple[list[Product], Counter[str]]:
    """The products that can be added, and how many are left out, by reason."""
    known = set(search.collection.table["id"].cast(pl.String))
    labels = search.taxonomy.encode_labels(products)
    is_labelled = ((labels >= 0) & (labels != OFF_LIST)).any(axis=1)
    fresh, left_out = [], Counter[str]()
    for product, has_label in zip(products, is_labelled, strict=True):
        if str(product.id) in known:
            left_out["in the index already"] += 1
        elif not has_label:
            left_out["no label that the model knows"] += 1
        else:
            fresh.append(product)
    return fresh, left_out


def _replace(folder: Path, collection: Collection, changed: Sequence[str]) -> None:
    """Replace `folder` by one with new files of the `changed` categories and links to all others."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.appended")
    link_folder(folder, draft)
    try:
        indices = collection.taxonomy.category_indices
        collection.save(draft / FOLDER, [indices[category] for category in sorted(changed)])
        write_checksums(draft)
        place_folder(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
