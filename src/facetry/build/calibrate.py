"""Calibrates a predictor: probabilities on its validation part, promises on labels that nothing used."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.build.load import load_plain
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, find_groups
from facetry.confidence.calibration import Calibration, read_calibration
from facetry.confidence.cells import LabelledCells
from facetry.confidence.fit import fit_map
from facetry.confidence.mapping import CalibrationMap
from facetry.errors import HeldOutLearned, NotEnoughData
from facetry.evaluation.held_out import count_trained_on, own_split
from facetry.evaluation.metrics import predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictions, Predictor
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter


def calibrate_model(
    folder: str | Path | ModelFolder, catalogue: Catalogue, *, reporter: Reporter = SILENT
) -> Calibration:
    """Calibrate the model in a folder anew, and store that there.

    On the catalogue that it was trained with, its promises are based on the calibration part of its
    split; on any other table, on all labelled products. The map of its probabilities stays that of its
    validation part, if it has one.

    Raises:
        HeldOutLearned: the model was trained on products of the table.
        NotEnoughData: there is no labelled product to calibrate on.
    """
    model = open_folder(folder)
    catalogue.require_sound()
    catalogue.require_photos()
    predictor = load_plain(model)
    split = own_split(model.path, catalogue)
    rows = np.arange(len(catalogue)) if split is None else split.rows("calibration")
    if num_learned := count_trained_on(model.path, catalogue, rows, "calibration"):
        raise HeldOutLearned(
            f"The model in {model.path} learned from {num_learned:,} of these products, so that no "
            "promise can be based on them.",
            hint="Name a table of other products.",
        )
    rows = rows[catalogue.is_labelled[rows]]
    if not len(rows):
        what = "has no labelled product" if split is None else "is divided without a calibration part"
        raise NotEnoughData(
            f"{catalogue.source.table.name} {what}.",
            hint="Name a table of labelled products that the model was not trained on.",
        )
    earlier = read_calibration(model)
    mapping = earlier.map if earlier else _own_map(predictor, catalogue, split, reporter)
    calibration = gather(predictor, catalogue, rows, mapping, split, reporter)
    calibration.save(model)
    return calibration


def calibrate_new(
    predictor: Predictor, catalogue: Catalogue, split: Split, reporter: Reporter
) -> Calibration | None:
    """The calibration of a predictor that was just made; none if its split has no validation part.

    Without a calibration part there is no evidence for promises.
    """
    if not len(split.rows("validation")):
        return None
    mapping = _own_map(predictor, catalogue, split, reporter)
    rows = split.rows("calibration")
    return gather(predictor, catalogue, rows[catalogue.is_labelled[rows]], mapping, split, reporter)


def _own_map(
    predictor: Predictor, catalogue: Catalogue, split: Split | None, reporter: Reporter
) -> CalibrationMap:
    """The map fitted on the model's validation part; none is known of a catalogue of others."""
    products = catalogue.products(split.rows("validation")) if split else []
    if not products:
        return CalibrationMap.identity(predictor.taxonomy)
    predictions = predict(predictor, products, reporter=reporter, description="Calibrating")
    return fit_map(labelled_cells(predictions, products))


def labelled_cells(
    predictions: Predictions, products: Sequence[Product], groups: NDArray[np.int64] | None = None
) -> LabelledCells:
    """The labelled cells of predicted products; `groups` (B) are equal for like photos."""
    labels = predictions.taxonomy.encode_labels(products)
    own = np.arange(len(products)) if groups is None else groups
    return LabelledCells.of(predictions, labels, own)


def gather(
    predictor: Predictor,
    catalogue: Catalogue,
    rows: NDArray[np.int64],
    mapping: CalibrationMap,
    split: Split | None,
    reporter: Reporter,
) -> Calibration:
    """The calibration with the evidence of some rows of the catalogue, one product of like photos."""
    products = catalogue.products(rows)
    known = split.groups if split else None
    if not len(rows):
        known = np.arange(len(catalogue))
    groups = find_groups(catalogue, rows, reporter=reporter) if known is None else known[rows]
    predictions = predict(predictor, products, reporter=reporter, description="Calibrating")
    cells = mapping.calibrated(labelled_cells(predictions, products, groups))
    return Calibration(map=mapping, evidence=cells.evidence(), facts=_facts(catalogue, split, groups))


def _facts(catalogue: Catalogue, split: Split | None, groups: NDArray[np.int64]) -> Mapping[str, str]:
    part = "all labelled products" if split is None else "the calibration part"
    return {
        "table": catalogue.source.table.name,
        "products": f"{part}: {len(groups):,}, {len(np.unique(groups)):,} of them with photos unlike",
    }
