"""What a run stands on: model, table and photo folder, and whether they stay as they were."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.engines.engine import Precision
from facetry.errors import InputChanged, PhotoProblem
from facetry.predictions import Predictor

_GO_ON = "The same command goes on where it stopped."


def numbers_of(predictor: Predictor) -> tuple[str, ...]:
    """The numbers that the engines of a predictor and its members compute in, as in "fp32"."""
    members = getattr(predictor, "members", {"": predictor}).values()
    words = " ".join(each.engine.description for each in members if hasattr(each, "engine"))
    return tuple(sorted({*words.replace(",", "").split()} & {*get_args(Precision)}))


@dataclass(frozen=True, kw_only=True)
class InputSnapshot:
    """The table's and the photo folder's state when a run began.

    `device` is the file system that the photos are on, `has_photos` whether anything is there: a
    disk that is unmounted leaves an empty folder.
    """

    table: Path
    images: Path | None
    table_state: tuple[int, int, int]
    device: int
    has_photos: bool

    @classmethod
    def of(cls, catalogue: Catalogue) -> "InputSnapshot":
        """The state now."""
        images = catalogue.source.images
        return cls(
            table=catalogue.source.table,
            images=images,
            table_state=_state(catalogue.source.table),
            device=images.stat().st_dev if images else 0,
            has_photos=_holds_something(images),
        )

    def require_unchanged(self, rows: pl.DataFrame) -> None:
        """Refuse rows that were made while the table or the photo folder went away.

        Raises:
            InputChanged: the table has changed; or photos are missing, and so is their folder.
        """
        if not self.table.exists() or _state(self.table) != self.table_state:
            raise InputChanged(f"{self.table} changed while it was predicted.", hint=_GO_ON)
        if PhotoProblem.MISSING.value in rows["status"] and not self._has_photo_folder():
            raise InputChanged(
                f"The photo folder {str(self.images)!r} has vanished.",
                hint=f"Bring it back. {_GO_ON}",
            )

    def _has_photo_folder(self) -> bool:
        if self.images is None:
            return True
        try:
            is_same = self.images.stat().st_dev == self.device
        except OSError:
            return False
        return is_same and (_holds_something(self.images) or not self.has_photos)


def _state(file: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced."""
    facts = file.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def _holds_something(folder: Path | None) -> bool:
    try:
        return folder is not None and any(True for _ in folder.iterdir())
    except OSError:
        return False
