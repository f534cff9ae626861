"""More products for a search that is built: its model folder is replaced by one that has them.

Shapes: n products added, D features.
"""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from facetry.errors import ModelFolderError
from facetry.files import link_folder, place_folder
from facetry.models.embed import encode_products
from facetry.models.folder import ModelFolder, open_folder, write_checksums
from facetry.product import Product
from facetry.progress import SILENT, Reporter
from facetry.runtime.resumable import hold
from facetry.search.collection import FOLDER, Collection, to_table
from facetry.search.folder import load_search
from facetry.search.predictor import SimilaritySearch
from facetry.taxonomy import OFF_LIST


@dataclass(frozen=True, kw_only=True)
class Appended:
    """How many products an index took, and how many it did not for which reason."""

    num_added: int
    left_out: Counter[str] = field(default_factory=Counter)


def append(
    folder: str | Path | ModelFolder, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Appended:
    """Add products to the index in a model folder; nothing that is in it is built anew.

    The folder is as it was until the new one takes its place. Left out are products whose id is in
    the index, and those without a label that the taxonomy lists or a readable photo.

    Raises:
        ModelFolderError: a damaged folder, one without an index, or one that is being written.
    """
    folder = require_index(folder)
    with hold(folder.path, ModelFolderError):
        search = load_search(folder, to_append=True)
        fresh, left_out = _fresh(search, products)
        embedding = encode_products(search.encoder, fresh, reporter=reporter)
        left_out.update(problem for problem in embedding.problems if problem)
        taken = np.array([not problem for problem in embedding.problems], dtype=bool)
        if taken.any():
            table = to_table(search.taxonomy, [fresh[place] for place in np.flatnonzero(taken)])
            collection = search.collection.extended(table, embedding.features[taken])
            _replace(folder.path, collection, table["category"].unique().to_list())
    return Appended(num_added=int(taken.sum()), left_out=left_out)


def require_index(folder: str | Path | ModelFolder) -> ModelFolder:
    """Open a model folder that holds an index of products.

    Raises:
        ModelFolderError: one without, or none that is whole.
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


def _fresh(search: SimilaritySearch, products: Sequence[Product]) -> tuple[list[Product], Counter[str]]:
    """The products that may be added, and how many may not for which reason."""
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
    """Put a folder in the place of `folder` that shares all files with it but the changed ones."""
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.appended")
    link_folder(folder, draft)
    try:
        indices = collection.taxonomy.category_indices
        collection.save(draft / FOLDER, [indices[category] for category in sorted(changed)])
        write_checksums(draft)
        place_folder(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
