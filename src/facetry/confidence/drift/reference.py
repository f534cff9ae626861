"""What a batch is compared with: products held out from training, measured, kept in the model folder.

A model is sure of products that it learned from, so a new batch would always seem to have moved. Hence
the reference are products that it was not trained on. Only measures are kept, no photos.
"""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.confidence.calibration import read_calibration
from facetry.confidence.drift.sample import Sample, draw_products, measure
from facetry.confidence.mapping import CalibrationMap
from facetry.errors import DriftReferenceError, NotEnoughData
from facetry.evaluation.held_out import trained_on
from facetry.models.folder import DRIFT, ModelFolder
from facetry.predictions import Predictor
from facetry.runtime.documents import parse_json
from facetry.runtime.files import writing
from facetry.runtime.progress import SILENT, Reporter

FORMAT: Final = 1

HOW_TO_MAKE: Final = "Name the catalogue that the model was trained with: --reference CATALOGUE"

_MEASURES: Final = ("categories", "top", "confidence", "quality", "features")


def store_reference(
    predictor: Predictor,
    folder: ModelFolder,
    catalogue: Catalogue,
    split: Split,
    reporter: Reporter = SILENT,
) -> None:
    """Measure the held-out part of a new model's catalogue, and keep that in its folder."""
    if len(rows := np.flatnonzero(split.codes > 0)):
        save_reference(folder, _measure_rows(predictor, catalogue, rows, reporter))


def measure_reference(
    predictor: Predictor, folder: ModelFolder, catalogue: Catalogue, reporter: Reporter = SILENT
) -> Sample:
    """Measure the products of a catalogue that the model was not trained on.

    Raises:
        NotEnoughData: it was trained on all of them.
    """
    rows = np.flatnonzero(~trained_on(folder.path, catalogue, "validation"))
    if not len(rows):
        raise NotEnoughData(
            f"The model was trained on every product of {catalogue.source.table.name}, and is surer of "
            "those than of any others.",
            hint="Name a catalogue of other products with --reference.",
        )
    return _measure_rows(predictor, catalogue, rows, reporter)


def _measure_rows(
    predictor: Predictor, catalogue: Catalogue, rows: NDArray[np.int64], reporter: Reporter
) -> Sample:
    products = draw_products(catalogue, rows=rows)
    what = "not trained on" if len(rows) < len(catalogue) else "all"
    facts = {
        "table": catalogue.source.table.name,
        "products": f"{len(products):,} at random of {len(rows):,}, {what}"
        if len(products) < len(rows)
        else f"{len(rows):,}, {what}",
    }
    return measure(predictor, products, facts=facts, reporter=reporter, description="Reference")


def save_reference(folder: ModelFolder, sample: Sample) -> None:
    """Write the measures of a sample, without its products, into the folder of the model."""
    about = {
        "format": FORMAT,
        "answers": _answers(folder),
        "problems": dict(sample.problems),
        "facts": dict(sample.facts),
    }
    arrays = {name: getattr(sample, name) for name in _MEASURES}
    arrays = {name: each for name, each in arrays.items() if each is not None}
    content = io.BytesIO()
    np.savez(content, about=np.array(json.dumps(about)), **arrays)
    with writing(folder.path / DRIFT) as draft:
        draft.write_bytes(content.getvalue())


def read_reference(folder: ModelFolder) -> Sample:
    """What `save_reference` wrote into a model folder; each array in the file has a checksum.

    Raises:
        DriftReferenceError: there is none; or it is damaged, of a newer version, or of another model or
            another calibration.
    """
    path = folder.path / DRIFT
    if not path.is_file():
        raise DriftReferenceError(
            f"{folder.path} has no reference to compare a batch with ({DRIFT}).", hint=HOW_TO_MAKE
        )
    about, arrays = _read(path)
    if about.get("format") != FORMAT:
        raise DriftReferenceError(
            f"{path} is of format {about.get('format')}; this version reads {FORMAT}.", hint=HOW_TO_MAKE
        )
    if about.get("answers") != _answers(folder):
        raise DriftReferenceError(
            f"{path} was made with another model, or before this one was calibrated.", hint=HOW_TO_MAKE
        )
    try:
        return _from_arrays(folder, about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, NDArray[Any]]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = parse_json(str(arrays.pop("about")))
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error
    if not isinstance(about, dict):
        raise _damaged(path)
    return about, arrays


def _damaged(path: Path) -> DriftReferenceError:
    return DriftReferenceError(f"{path} is damaged.", hint=HOW_TO_MAKE)


def _from_arrays(
    folder: ModelFolder, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> Sample:
    sample = Sample(
        taxonomy=folder.taxonomy,
        problems=Counter(about["problems"]),
        facts=about["facts"],
        **{name: arrays.get(name) for name in _MEASURES},  # type: ignore[arg-type]
    )
    num_products, num_slots = len(sample), folder.taxonomy.num_slots
    if sample.top.shape != (num_products, num_slots) or sample.confidence.shape != sample.top.shape:
        raise ValueError("another taxonomy")
    return sample


def _answers(folder: ModelFolder) -> str:
    """A digest of the model and the map of its probabilities: equal where all answers are.

    The evidence for promises, which a later calibration replaces, is no part of it.
    """
    calibration = read_calibration(folder)
    mapping = calibration.map if calibration else CalibrationMap.identity(folder.taxonomy)
    digest = hashlib.sha256(folder.plain_fingerprint.encode())
    for each in (mapping.log_temperatures, mapping.biases):
        digest.update((each.round(6) + 0.0).tobytes())  # + 0.0: -0.0 is 0.0
    return digest.hexdigest()
