"""What a model folder tells of the work that it came from: the job and the split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import is_same_catalogue
from facetry.catalogue.split import Split
from facetry.errors import TrainingError
from facetry.models.retired import without_retired
from facetry.runtime.resumable import read_record

SPLIT = "split.parquet"


def read_job(folder: Path) -> dict[str, Any]:
    """What `folder` was made from; empty where that cannot be told."""
    found = read_record(folder)
    if isinstance(recipe := found.get("recipe"), dict):
        found["recipe"] = without_retired(recipe, only_off=True)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The products of a catalogue that a training must not have seen."""

    catalogue: Catalogue
    split: Split

    def refuse_leaks(self, folder: Path, key: str) -> None:
        """Refuse a model folder, named by a recipe's `key`, that learned from held-out products.

        Whether it did is told by its split, where it comes from the same table or the same photos.

        Raises:
            TrainingError: it did; says from how many.
        """
        import polars as pl

        path, job = folder / SPLIT, read_job(folder)
        is_same = is_same_catalogue(job, self.catalogue)
        if not is_same or not path.is_file():
            return
        learned = pl.read_parquet(path).filter(pl.col("part") == "train")["id"].cast(pl.String)
        for part in ("validation", "test"):
            ids = self.catalogue.table["id"].gather(self.split.rows(part)).cast(pl.String)
            if num_seen := int(ids.is_in(learned.implode()).sum()):
                raise TrainingError(
                    f"{key}: the model in {folder} learned from {num_seen:,} of the {len(ids):,} "
                    f"products in the {part} part, so that scores there would say nothing.",
                    hint=f"Use the same split for both: --split {path}",
                )
