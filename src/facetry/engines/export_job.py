"""What is to be exported, how it is checked, and where it goes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.config import Config
from facetry.engines.engine import Precision, Runtime
from facetry.engines.export_folder import PARITY, export_folder, export_name, read_export, weights_sum
from facetry.engines.parity import MIN_PHOTOS
from facetry.errors import ExportError
from facetry.models.folder import classifier_folders


class ExportConfig(Config):
    """What is exported, and how it is checked."""

    runtime: Runtime
    """The runtime that the files are for."""

    int8: bool = False
    """Quantise to 8-bit whole numbers."""

    num_photos: Annotated[int, Field(ge=MIN_PHOTOS)] = 500
    """Products with a readable photo that the export is checked on, if there are as many."""

    num_calibration: Annotated[int, Field(ge=1)] = 300
    """Products whose photos int8 is calibrated with, if there are as many."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Which products are taken follows from it."""

    @property
    def precision(self) -> Precision:
        """The precision of the files."""
        return "int8" if self.int8 else "fp32"

    @property
    def name(self) -> str:
        """What the exports' folders are called."""
        return export_name(self.runtime, self.precision)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportJob:
    """One export to make: of which model folder, checked on which catalogue, and where to.

    With `out` None the exports stand in the model folder itself, else a slim copy is written there.
    """

    folder: Path
    catalogue: Catalogue
    config: ExportConfig
    out: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for an export to be the one that is asked for, beside the weights."""
        return {**catalogue_identity(self.catalogue), **self.config.model_dump(mode="json")}

    @property
    def places(self) -> list[Path]:
        """Where the exports stand in the end, in the order of `classifier_folders`."""
        parts = (part.relative_to(self.folder) for part in classifier_folders(self.folder))
        return [export_folder((self.out or self.folder) / part, self.config.name) for part in parts]


def is_there(job: ExportJob) -> bool:
    """Whether the very exports that are asked for are in their places, made of these weights."""
    for place, folder in zip(job.places, classifier_folders(job.folder), strict=True):
        try:
            export = read_export(place)
            parity = json.loads((place / PARITY).read_text(encoding="utf-8"))
            asked = upgraded_identity(parity["asked"], job.catalogue)
        except (ExportError, OSError, ValueError, LookupError, TypeError):
            return False
        if export.note.weights != weights_sum(folder) or asked != job.identity:
            return False
    return True
