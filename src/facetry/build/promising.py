"""The predictor in a model folder, which decides what to do where it has promises to keep."""

from dataclasses import dataclass
from pathlib import Path

from facetry.batch.snapshot import precisions_of
from facetry.batch.source import Loaded
from facetry.build.load import load
from facetry.confidence.calibration import promises_of, with_promises
from facetry.confidence.promises import Promises
from facetry.engines.engine import EngineConfig
from facetry.errors import PredictorMismatch
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictor
from facetry.runtime.local_copies import origin_of
from facetry.runtime.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model folder to load a predictor from, in this process or in another; see `PredictorSource`.

    `model` is the folder's fingerprint. `precision` is what to promise, if anything.
    """

    path: Path
    model: str
    engine: EngineConfig
    precision: float | None = None
    is_simultaneous: bool = False

    @classmethod
    def of(cls, folder: ModelFolder, engine: EngineConfig, promises: Promises | None) -> "ModelSource":
        """The source of what `load_promising` loads."""
        origin = origin_of(folder.path)  # other machines have no copy
        return cls(
            path=origin[0] if origin else folder.path.absolute(),
            model=folder.fingerprint,
            engine=engine,
            precision=promises.target if promises else None,
            is_simultaneous=promises is not None and promises.is_simultaneous,
        )

    def open(self, reporter: Reporter = SILENT) -> Loaded:
        """Load the predictor.

        Raises:
            PredictorMismatch: the folder holds another model than the one that was meant.
            FacetryError: as in `load.load`.
        """
        folder = open_folder(self.path)
        if folder.fingerprint != self.model:
            raise PredictorMismatch(
                f"The model folder {str(self.path)!r} holds another model here.",
                hint="Have the same model at this path on all machines.",
            )
        promises = None
        if self.precision is not None:
            promises = promises_of(folder, self.precision, is_simultaneous=self.is_simultaneous)
        return load_promising(folder, self.engine, promises, reporter)


def load_promising(
    folder: ModelFolder,
    engine: EngineConfig,
    promises: Promises | None,
    reporter: Reporter = SILENT,
) -> Loaded:
    """The predictor in a model folder, which decides what to do if it has promises; see `load.load`."""
    return promising(load(folder, engine, reporter=reporter), folder, promises)


def promising(predictor: Predictor, folder: ModelFolder, promises: Promises | None) -> Loaded:
    """The predictor of a model folder, deciding by these promises, if there are any."""
    facts = precisions_of(predictor)
    if promises is not None:
        predictor = with_promises(predictor, promises)
        facts = (*facts, promises.fact)
    return Loaded(predictor=predictor, fingerprint=folder.fingerprint_with(*facts))
