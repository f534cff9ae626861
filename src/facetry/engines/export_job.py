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
from facetry.engines.export_folder import PARITY, export_folder, export_name, read_export
from facetry.engines.parity import MIN_PHOTOS
from facetry.ensemble import WEIGHTING
from facetry.errors import ExportError, ModelFolderError
from facetry.models.folder import PREPROCESS, RECIPE, TAXONOMY, ModelFolder, open_folder

SLIM_FILES = (RECIPE, TAXONOMY, PREPROCESS, WEIGHTING, "background.onnx", "metrics.json", "README.md")
"""What a slim model folder keeps, where it is there, beside the exports."""


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

    folder: ModelFolder
    catalogue: Catalogue
    config: ExportConfig
    out: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for an export to be the one that is asked for, beside the weights."""
        return {**catalogue_identity(self.catalogue), **self.config.model_dump(mode="json")}

    @property
    def places(self) -> list[Path]:
        """Where the exports stand in the end, in the order of the folder's `classifiers`."""
        own = self.folder.path
        parts = (each.path.relative_to(own) for each in self.folder.classifiers)
        return [export_folder((self.out or own) / part, self.config.name) for part in parts]


def is_there(job: ExportJob) -> bool:
    """Whether the very exports that are asked for are in their places, made of this model."""
    if job.out and not _is_slim_copy(job.folder, job.out):
        return False
    for place, folder in zip(job.places, job.folder.classifiers, strict=True):
        try:
            export = read_export(place)
            parity = json.loads((place / PARITY).read_text(encoding="utf-8"))
            asked = upgraded_identity(parity["asked"], job.catalogue)
        except (ExportError, OSError, ValueError, LookupError, TypeError):
            return False
        if export.note.weights != folder.weights_sum or asked != job.identity:
            return False
    return True


def _is_slim_copy(model: ModelFolder, slim: Path) -> bool:
    """Whether a slim model folder has the files of the model as it is now, its members' too."""
    try:
        copied = [dict(part.checksums) for part in open_folder(slim).parts]
    except ModelFolderError:
        return False
    return copied == [
        {name: checksum for name, checksum in part.checksums.items() if name in SLIM_FILES}
        for part in model.parts
    ]
