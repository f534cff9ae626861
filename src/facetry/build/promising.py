"""The predictor in a model folder, which decides what to do where it has promises to keep."""

from dataclasses import dataclass

from facetry.batch.snapshot import precisions_of
from facetry.build.load import load
from facetry.confidence.calibration import with_promises
from facetry.confidence.promises import Promises
from facetry.engines.engine import EngineConfig
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictor
from facetry.runtime.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A predictor, and a digest of all that its answers depend on."""

    predictor: Predictor
    fingerprint: str


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
