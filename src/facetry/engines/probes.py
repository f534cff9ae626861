"""Probes: photos that every export carries with its answers, to check it by wherever it is opened.

Checksums say that an export's files are what was written. The probes say that they still mean the same:
with another version of the runtime, on another CPU, in another precision.

Shapes: P probes, S side in pixels, H heads of all categories, V values of the head with most.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.calibration import uncalibrated
from facetry.engines.engine import Engine, Precision, precision_of
from facetry.engines.serving import ServedClassifier
from facetry.errors import ExportError
from facetry.models.folder import ModelFolder
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.runtime.files import writing

PROBES: Final = "probes.npz"
"""The file in an export's folder."""

NUM_PROBES: Final = 16
"""How many photos an export carries."""

TOLERANCES: Final[Mapping[Precision, float]] = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1, "int8": 0.1}
"""The most by which a probability may differ from the one that the export carries.

In fp32, CPUs and versions of a runtime add in other orders, which changes probabilities by 1e-5 or less.
Half precision has two or three digits: a small tower's probabilities change by 3e-3 in bf16, those of
deeper ones by some hundredths. What int8 rounds to depends on whether the CPU has instructions for it.
"""

_AGAIN: Final = "Export the model again with `facetry export`."


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """Preprocessed photos, uint8 (P, 3, S, S), and an export's answers to them, float32 (P, H, V)."""

    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Raise an error for arrays that are no probes."""
        pixels, answers = self.pixels, self.probabilities
        are_typed = pixels.dtype == np.uint8 and answers.dtype == np.float32
        are_shaped = pixels.ndim == 4 and answers.ndim == 3 and pixels.shape[1] == 3
        if not are_typed or not are_shaped or not len(pixels) == len(answers) > 0:
            raise ValueError("no pixels (P, 3, S, S) with answers (P, H, V)")


def write_probes(folder: Path, probes: Probes) -> None:
    """Write an export's probes into its folder, before its checksums are written."""
    with writing(folder / PROBES) as draft, draft.open("wb") as file:
        np.savez_compressed(file, pixels=probes.pixels, probabilities=probes.probabilities)


def read_probes(folder: Path) -> Probes | None:
    """An export's probes; None for one that an earlier version wrote, which has none.

    Raises:
        ExportError: the file is damaged.
    """
    path = folder / PROBES
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return Probes(pixels=file["pixels"], probabilities=file["probabilities"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ExportError(f"{path} is damaged.", hint=_AGAIN) from error


def check_probes(engine: Engine, probes: Probes, *, precision: Precision, name: str) -> None:
    """Compute the probes on an engine, and compare its answers with those that the export carries.

    No probability may differ by more than the `TOLERANCES` of the precision that the engine computes in,
    and where the most probable value leads by more than that, it must be the same.

    Raises:
        ExportError: an answer differs; the message has the `name` of the model.
    """
    found, expected = engine(probes.pixels), probes.probabilities
    if found.shape != expected.shape:
        raise ExportError(
            f"The export of {name} answers with {found.shape[1:]} probabilities, and its probes "
            f"have {expected.shape[1:]}.",
            hint=_AGAIN,
        )
    tolerance = TOLERANCES[precision]
    lead = np.diff(np.sort(expected, axis=2)[..., -2:], axis=2, prepend=0)[..., -1]  # P H
    num_other = int(((found.argmax(axis=2) != expected.argmax(axis=2)) & (lead > tolerance)).sum())
    largest = float(np.abs(found - expected).max())
    if num_other or not largest <= tolerance:  # NaN is not either
        raise ExportError(
            f"The export of {name} does not answer as it did when it was made: on its {len(expected)} "
            f"probes {num_other:,} of {lead.size:,} answers have another value, and a probability "
            f"differs by {largest:.2g}; {tolerance} is allowed in {precision} ({engine.description}).",
            hint=f"{_AGAIN} If it then passes here, the runtime or the CPU computes otherwise than the "
            "one it was made with.",
        )


def check_exports(predictor: Predictor, folder: ModelFolder) -> None:
    """Check a loaded model's exports, an ensemble's each, by their probes.

    What was not opened from an export, or from one without probes, is not checked.

    Raises:
        ExportError: an export answers otherwise than when it was made, or its probes are damaged.
    """
    for classifier, name in _served(uncalibrated(predictor), folder):
        probes = read_probes(classifier.export) if classifier.export else None
        if probes is None:
            continue
        (form,) = classifier.preprocesses
        if probes.pixels.shape[2:] != (form.size_px, form.size_px):
            raise ExportError(f"The probes of {name} are of another size than its photos.", hint=_AGAIN)
        check_probes(classifier.engine, probes, precision=precision_of(classifier.engine), name=name)


def _served(predictor: Predictor, folder: ModelFolder) -> Iterator[tuple[ServedClassifier, str]]:
    """The classifiers on an engine in a predictor, with their folders as names."""
    if isinstance(predictor, Ensemble):
        for member, each in predictor.members.items():
            yield from _served(each, folder.members[member])
    elif isinstance(predictor, ServedClassifier):
        yield predictor, str(folder.path)
