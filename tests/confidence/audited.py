"""A model folder that promises, and answers of people about what it has filled."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from facetry.confidence.calibration import Calibration
from facetry.confidence.fill_audit import ANSWERS, DRAWN, FillAudit, basis_of
from facetry.confidence.mapping import CalibrationMap
from facetry.models.folder import RECIPE, ModelFolder, open_folder, write_checksums
from facetry.taxonomy import Taxonomy
from tests.confidence.cells import TAXONOMY, make_evidence


def make_model(path: Path, taxonomy: Taxonomy = TAXONOMY, *, num_labels: Sequence[int]) -> ModelFolder:
    """A model without weights, calibrated on so many labels of each head, all of them right."""
    path.mkdir()
    (path / RECIPE).write_text("kind: none\n")
    (path / "taxonomy.json").write_text(taxonomy.to_json())
    write_checksums(path)
    folder = open_folder(path)
    calibrate(folder, num_labels)
    return folder


def calibrate(folder: ModelFolder, num_labels: Sequence[int], *, confidence: float = 0.5) -> None:
    """Calibrate a model on labels that it was so sure of, and right about."""
    heads = np.repeat(np.arange(len(num_labels)), num_labels)
    sure, is_right = np.full(len(heads), confidence), np.ones(len(heads), dtype=bool)
    Calibration(
        map=CalibrationMap.identity(folder.taxonomy),
        evidence=make_evidence(sure, is_right, heads),
        facts={},
        labels=f"{num_labels} {confidence}",
    ).save(folder)


def add_answers(
    folder: ModelFolder,
    head: int,
    answers: Sequence[str | None],
    *,
    action: str = "fill",
    precision: float = 0.95,
) -> None:
    """Draw cells of a head, one for each answer, and answer them; None agrees with the model."""
    about, start = folder.taxonomy.heads[head], FillAudit.of(folder).drawn.height
    codes = [f"c{start + index}" for index in range(len(answers))]
    same = {
        "category": about.category,
        "attribute": about.attribute,
        "value": about.values[0],
        "old": None,
        "confidence": 0.9,
        "action": action,
        "model": folder.plain_fingerprint,
        "calibrated": basis_of(folder),
        "precision": precision,
        "is_simultaneous": False,
        "source": "model one 2024-05-01",
        "filled": "2024-05-02",
        "drawn": "2024-05-03",
        "chosen": "random",
    }
    rows = [{"cell": code, "id": code, **same} for code in codes]
    audit = FillAudit.of(folder)
    audit.add_drawn(pl.DataFrame(rows, schema=DRAWN))
    given = [about.values[0] if each is None else each for each in answers]
    frame = pl.DataFrame({"cell": codes, "answer": given}, schema_overrides={"answer": pl.String})
    named = frame.with_columns(who=pl.lit("asha"), when=pl.lit("2024-05-04"))
    audit.add_answers(named.select(ANSWERS.names()))
