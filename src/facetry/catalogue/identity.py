"""Identities of catalogues: stored with results, compared to tell whether a catalogue is the same.

Interrupted work is resumed only with the catalogue that it began with, and a model is not scored on
products that it was trained on.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.source import Constant
from facetry.runtime.files import sha256

_NUM_HASHED = 100_000  # cells in memory as Python strings at one time


def catalogue_identity(catalogue: Catalogue) -> dict[str, str]:
    """What identifies a catalogue and its photos, to be stored as JSON.

    `catalogue` is its fingerprint: of taxonomy, ids, categories, texts and labels. `photos` names the
    photo folder and how photos are named in it. Where a column names the photos, `photo_names` is a
    hash of its cells.
    """
    source = catalogue.source
    folder = source.images.resolve() if source.images else None
    identity = {
        "catalogue": catalogue.fingerprint,
        "photos": f"{folder} {source.photo_pattern} {source.columns.photo}",
    }
    if source.columns.photo:
        identity["photo_names"] = _hash_cells(catalogue.table["photo"])
    return identity


def upgraded_identity(found: Mapping[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """Bring an identity that an older version stored to today's form, for comparison with `catalogue`'s.

    Older versions stored no `photo_names`, in audits, comparisons, searches and evaluations the photo
    folder alone, and in exports nothing of photos. What they left out is assumed to be the same.
    """
    now = catalogue_identity(catalogue)
    images = catalogue.source.images
    missing = {key: value for key, value in now.items() if key not in found and key != "catalogue"}
    upgraded = {**found, **missing}
    if upgraded["photos"] == (str(images.resolve()) if images else None):
        upgraded["photos"] = now["photos"]
    return upgraded


def is_same_catalogue(found: Mapping[str, Any], catalogue: Catalogue) -> bool:
    """Whether a stored identity has the same table or photos, so that equal ids are equal products."""
    now = catalogue_identity(catalogue)
    return any(found.get(key) == now[key] for key in ("catalogue", "photos"))


def table_fingerprint(catalogue: Catalogue) -> str:
    """A hash that identifies a table to predict, computed without loading it into memory.

    Covers the file's content, the columns and rows that are read and where the photos are. Labels,
    taxonomy and repairs are left out: predictions do not depend on them.
    """
    source, layout = catalogue.source, catalogue.layout
    category = layout.category
    constant = category.constant if isinstance(category, Constant) else None
    columns = [layout.id, constant or category, layout.photo, layout.text]
    photos = [str(source.images and source.images.resolve()), catalogue.photos.pattern]
    content = json.dumps([sha256(source.table), columns, photos])
    rows = b"" if catalogue.streamed_rows is None else catalogue.streamed_rows.tobytes()
    return hashlib.sha256(content.encode() + rows).hexdigest()


def _hash_cells(cells: pl.Series) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(cells), _NUM_HASHED):
        digest.update(repr(cells.slice(start, _NUM_HASHED).to_list()).encode())
    return digest.hexdigest()
