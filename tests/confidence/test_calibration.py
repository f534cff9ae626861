"""A calibration's file: what a checksum cannot tell is told by its content."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from facetry.confidence.calibration import read_calibration
from facetry.errors import CalibrationError
from facetry.models.folder import CALIBRATION
from facetry.runtime.files import write_text
from facetry.taxonomy import Taxonomy
from tests.confidence.audited import make_model

TAXONOMY = Taxonomy.of({"Sarees": {"border": ["zari", "solid"], "pattern": ["solid", "woven"]}})


@pytest.mark.parametrize(
    ("keys", "content"),
    [
        (("log_temperatures",), [float("nan"), 0.0]),
        (("log_temperatures",), [0.0]),
        (("biases",), [[0.0, 0.0]]),
        (("evidence", "heads"), [7, 7, 7]),
        (("evidence", "confidence"), [0.5]),
        (("evidence",), []),
        (("facts",), "none"),
    ],
)
def test_what_does_not_fit_the_model_is_damaged(
    tmp_path: Path, keys: tuple[str, ...], content: Any
) -> None:
    model = make_model(tmp_path / "model", TAXONOMY, num_labels=[2, 1])
    assert read_calibration(model) is not None
    stored = json.loads((model.path / CALIBRATION).read_text().partition("\n")[0])
    place = stored
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = content
    text = json.dumps(stored)
    write_text(model.path / CALIBRATION, f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n")
    with pytest.raises(CalibrationError, match="is damaged"):
        read_calibration(model)
