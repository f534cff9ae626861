"""From a model folder to the predictor in it; a table at the end says how, for each kind of recipe."""

from collections.abc import Callable, Mapping
from pathlib import Path

from facetry.confidence.calibration import read_calibration, with_calibration
from facetry.engines.engine import EngineConfig
from facetry.engines.serving import serve
from facetry.errors import ModelFolderError
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictor
from facetry.predictors.ensemble import load_ensemble
from facetry.runtime.extras import require
from facetry.runtime.progress import SILENT, Reporter


def load(
    folder: str | Path | ModelFolder,
    engine: EngineConfig | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Predictor:
    """The predictor in a model folder, checked against its checksums.

    Its probabilities are calibrated, if the model is. Without an `engine` the trained model itself runs
    on torch. With one, that engine computes the model's graph, or the engine that suits best where it
    names none; the `reporter` says which.

    Raises:
        CalibrationError: a calibration that is damaged, or another model's.
        EngineError: the engine cannot do what is asked of it.
        ExportError: an export that is damaged or made by a newer version.
        MissingExtra: the engine is not installed.
        ModelFolderError: no model folder, or an incomplete, damaged or newer one.
    """
    folder = open_folder(folder)
    return with_calibration(_load(folder, engine, reporter), read_calibration(folder))


def load_plain(folder: str | Path | ModelFolder) -> Predictor:
    """The predictor in a model folder with its own probabilities, on torch; see `load`."""
    return _load(open_folder(folder), None, SILENT)


def _load(folder: ModelFolder, engine: EngineConfig | None, reporter: Reporter) -> Predictor:
    if engine and (served := serve(folder, engine, reporter)):
        return served
    if folder.kind not in _LOADERS:
        raise ModelFolderError(
            f"{folder.path} holds a predictor of the unknown kind {folder.kind!r}.",
            hint="Update Facetry.",
        )
    if folder.kind != "ensemble":
        require(f"The {folder.kind} in {folder.path}, on torch,", "torch")
    return _LOADERS[folder.kind](folder)


def _load_classifier(folder: ModelFolder) -> Predictor:
    from facetry.models.classifier.serialization import load_classifier

    return load_classifier(folder)


def _load_search(folder: ModelFolder) -> Predictor:
    from facetry.predictors.search.predictor import load_search

    return load_search(folder)


def _load_vlm(folder: ModelFolder) -> Predictor:
    from facetry.predictors.vlm.folder import load_vlm

    return load_vlm(folder)


def _load_ensemble(folder: ModelFolder) -> Predictor:
    return load_ensemble(folder, load_plain)


_LOADERS: Mapping[str, Callable[[ModelFolder], Predictor]] = {
    "classifier": _load_classifier,
    "search": _load_search,
    "vlm": _load_vlm,
    "ensemble": _load_ensemble,
}
