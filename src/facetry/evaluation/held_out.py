"""What a model folder tells of the work that it came from: the job and the split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import is_same_catalogue
from facetry.catalogue.split import Part, Split, read_split
from facetry.errors import CatalogueError, HeldOutLearned
from facetry.models.retired import without_retired
from facetry.runtime.resumable import read_record

SPLIT = "split.parquet"

_LEARNED: Mapping[Part, tuple[Part, ...]] = {
    "train": (),
    "validation": ("train",),
    "test": ("train", "validation"),
}
"""What is to be done with products -> the parts of a model's own split that they may not stand in."""


def read_job(folder: Path) -> dict[str, Any]:
    """What `folder` was made from; empty where that cannot be told."""
    found = read_record(folder)
    if isinstance(recipe := found.get("recipe"), dict):
        found["recipe"] = without_retired(recipe, only_off=True)
    return found


def own_split(folder: Path, catalogue: Catalogue) -> Split | None:
    """The split that the model in `folder` learned by, if it is of this catalogue's table or photos."""
    if not (folder / SPLIT).is_file() or not is_same_catalogue(read_job(folder), catalogue):
        return None
    try:
        return read_split(folder / SPLIT, catalogue)
    except CatalogueError:  # other products with the same photo folder
        return None


def count_learned(
    folder: Path, catalogue: Catalogue, rows: NDArray[np.int64], part: Part = "test"
) -> int:
    """How many of some rows, which are to be a `part`, the model in `folder` has learned from.

    A model learns from its train part, and by its validation part its best epoch, its members' weights
    and the like are chosen: products of either say too much good of it in a test. To choose by the
    validation part once more does no harm, so that there only its train part counts. What an ensemble's
    members have learned from, it has learned from.
    """
    is_learned = np.zeros(len(catalogue), dtype=bool)
    for path in folder.rglob(SPLIT):  # its own and its members'
        if split := own_split(path.parent, catalogue):
            for own in _LEARNED[part]:
                is_learned[split.rows(own)] = True
    return int(is_learned[rows].sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The products of a catalogue that a training must not have seen."""

    catalogue: Catalogue
    split: Split

    def refuse_donors(self, donors: Mapping[str, Path]) -> None:
        """Refuse model folders to start from, by the recipe's keys, that learned from such products.

        Raises:
            HeldOutLearned: one did.
        """
        for key, folder in donors.items():
            self.refuse_leaks(folder, key)

    def refuse_leaks(self, folder: Path, key: str) -> None:
        """Refuse a model folder, named by a recipe's `key`, that learned from held-out products.

        Raises:
            HeldOutLearned: it did; says from how many.
        """
        for part in ("validation", "test"):
            rows = self.split.rows(part)
            if num_learned := count_learned(folder, self.catalogue, rows, part):
                raise HeldOutLearned(
                    f"{key}: the model in {folder} learned from {num_learned:,} of the {len(rows):,} "
                    f"products in the {part} part, so that scores there would say nothing.",
                    hint=f"Use the same split for both: --split {folder / SPLIT}",
                )
