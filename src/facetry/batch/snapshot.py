"""What a run depends on: the predictor's precision, and a table and photo folder that stay unchanged."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.confidence.calibration import uncalibrated
from facetry.engines.engine import precision_of
from facetry.errors import InputChanged, PhotoProblem
from facetry.predictions import Predictor
from facetry.runtime.local_copies import origin_of
from facetry.runtime.objects import ObjectPath

_RESUME = "The same command resumes where it stopped."


def precisions_of(predictor: Predictor) -> tuple[str, ...]:
    """The precisions, such as "fp32", that the engines of a predictor and its members compute in."""
    plain = uncalibrated(predictor)
    members = getattr(plain, "members", {"": plain}).values()
    return tuple(sorted({precision_of(each.engine) for each in members if hasattr(each, "engine")}))


@dataclass(frozen=True, kw_only=True)
class InputSnapshot:
    """The table's and the photo folder's state when a run began.

    If the table is a copy of an object, that is `origin`, with its ETag. `device` is the file system
    that the photos are on, `has_photos` whether the photo folder held anything: a disk that is
    unmounted leaves an empty folder.
    """

    table: Path
    images: Path | None
    table_state: tuple[int, int, int]
    device: int
    has_photos: bool
    origin: tuple[ObjectPath, str] | None = None

    @classmethod
    def of(cls, catalogue: Catalogue) -> "InputSnapshot":
        """The state now."""
        images = catalogue.source.images
        if isinstance(images, ObjectPath):
            images = None  # a bucket that cannot be read is an error, and not a photo that is missing
        return cls(
            table=catalogue.source.table,
            origin=origin_of(catalogue.source.table),
            images=images,
            table_state=_state(catalogue.source.table),
            device=images.stat().st_dev if images else 0,
            has_photos=has_content(images),
        )

    def require_unchanged(self, rows: pl.DataFrame) -> None:
        """Raise if the rows may be wrong because the table or the photo folder changed.

        Raises:
            InputChanged: the table has changed; or photos are missing because their folder is gone.
        """
        if self._has_table_changed():
            table = self.origin[0] if self.origin else self.table
            raise InputChanged(f"{table} changed while its products were predicted.", hint=_RESUME)
        if PhotoProblem.MISSING.value in rows["status"] and not self._has_photo_folder():
            raise InputChanged(
                f"The photo folder {str(self.images)!r} has vanished.",
                hint=f"Bring it back. {_RESUME}",
            )

    def _has_table_changed(self) -> bool:
        if self.origin is not None:
            address, etag = self.origin
            return address.etag() != etag
        return not self.table.exists() or _state(self.table) != self.table_state

    def _has_photo_folder(self) -> bool:
        if self.images is None:
            return True
        try:
            is_same = self.images.stat().st_dev == self.device
        except OSError:
            return False
        return is_same and (has_content(self.images) or not self.has_photos)


def _state(file: Path) -> tuple[int, int, int]:
    """Inode, size and modification time: one differs if the file was written to or replaced."""
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def has_content(folder: Path | None) -> bool:
    """Whether a folder is there and holds anything."""
    try:
        return folder is not None and any(True for _ in folder.iterdir())
    except OSError:
        return False
