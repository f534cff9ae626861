"""A model that promises a precision, whose predictions are those of the fake predictor."""

from pathlib import Path

from facetry.confidence.calibration import (
    CalibratedPredictor,
    promises_of,
    stored_calibration,
    with_promises,
)
from facetry.models.folder import open_folder
from facetry.service.models import Load, LoadedModel
from tests.confidence.audited import make_model
from tests.service.fakes import TAXONOMY, FakePredictor

PRECISION = 0.9


def promising_load(folder: Path) -> Load:
    """Loads the fake predictor with the promises of a model folder, which is made if there is none."""
    if not folder.exists():
        make_model(folder, TAXONOMY, num_labels=[200, 0])  # of Sarees alone

    def load(name: str, _: Path) -> LoadedModel:
        found = open_folder(folder)
        promises = promises_of(found, PRECISION, may_be_withdrawn=True)
        calibrated = CalibratedPredictor(plain=FakePredictor(), calibration=stored_calibration(found))
        return LoadedModel(
            name=name,
            folder=found,
            predictor=with_promises(calibrated, promises),
            fingerprint=found.fingerprint_with(promises.fact),
            promises=promises,
        )

    return load
