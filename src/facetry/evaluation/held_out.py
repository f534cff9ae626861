"""Which products a model was trained on, from its folder's job and split: scores on them are refused.

Shapes: N products of the catalogue.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import is_same_catalogue
from facetry.catalogue.split import PARTS, Part, Split, read_split
from facetry.errors import CatalogueError, HeldOutLearned
from facetry.runtime.resumable import read_record

SPLIT = "split.parquet"

_TRAINED_ON: Mapping[Part, tuple[Part, ...]] = {
    "train": (),
    "validation": ("train",),
    "test": ("train", "validation", "calibration"),
    "calibration": ("train", "validation"),
}
"""Part to score on -> the parts of the model's own split that its products must not be in."""


def own_split(folder: Path, catalogue: Catalogue) -> Split | None:
    """The split that the model in `folder` was trained with, if it is one of this catalogue."""
    if not (folder / SPLIT).is_file() or not is_same_catalogue(read_record(folder), catalogue):
        return None
    try:
        return read_split(folder / SPLIT, catalogue)
    except CatalogueError:  # other products with the same photo folder
        return None


def trained_on(folder: Path, catalogue: Catalogue, part: Part = "test") -> NDArray[np.bool_]:
    """The products (N) that the model in `folder` learned from, if they are to serve as `part`.

    A test must use neither the model's train part nor its validation part, by which its best epoch, its
    members' weights and the like were chosen, nor its calibration part: scores would be too high. A
    validation may use its validation part again, a calibration its calibration part. An ensemble was
    trained on all that its members were trained on.
    """
    is_trained_on = np.zeros(len(catalogue), dtype=bool)
    for path in folder.rglob(SPLIT):  # its own and its members'
        if split := own_split(path.parent, catalogue):
            for own in _TRAINED_ON[part]:
                is_trained_on[split.rows(own)] = True
    return is_trained_on


def trained_ids(folder: Path, part: Part = "test") -> frozenset[str]:
    """The ids, as texts, of the products that `trained_on` means, whatever table they are read from."""
    names = list(_TRAINED_ON[part])
    found = [pl.read_parquet(path) for path in folder.rglob(SPLIT)]
    ids = (each.filter(pl.col("part").is_in(names))["id"].cast(pl.String) for each in found)
    return frozenset(id_ for column in ids for id_ in column)


def count_trained_on(
    folder: Path, catalogue: Catalogue, rows: NDArray[np.int64], part: Part = "test"
) -> int:
    """How many of `rows` the model in `folder` learned from; see `trained_on`."""
    return int(trained_on(folder, catalogue, part)[rows].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The products of a catalogue that no model may have been trained on: all but the training part."""

    catalogue: Catalogue
    split: Split

    def refuse_donors(self, donors: Mapping[str, Path]) -> None:
        """Refuse model folders to start from, by recipe key, that were trained on held-out products.

        Raises:
            HeldOutLearned: one was.
        """
        for key, folder in donors.items():
            self.refuse_leaks(folder, key)

    def refuse_leaks(self, folder: Path, key: str) -> None:
        """Refuse a model folder, named by a recipe's `key`, that was trained on held-out products.

        Raises:
            HeldOutLearned: it was; says on how many.
        """
        for part in PARTS[1:]:
            rows = self.split.rows(part)
            if num_trained_on := count_trained_on(folder, self.catalogue, rows, part):
                raise HeldOutLearned(
                    f"{key}: the model in {folder} learned from {num_trained_on:,} of the {len(rows):,} "
                    f"products in the {part} part, so that scores there would say nothing.",
                    hint=f"Use the same split for both: --split {folder / SPLIT}",
                )
