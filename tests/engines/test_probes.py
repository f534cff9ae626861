"""An export is opened only if it still answers its probes as it did when it was made."""

import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from facetry.build.load import load
from facetry.confidence.calibration import CalibratedPredictor, uncalibrated
from facetry.engines.engine import EngineConfig, Precision
from facetry.engines.export_folder import export_folder, read_export
from facetry.engines.probes import (
    PROBES,
    Probes,
    check_exports,
    check_probes,
    read_probes,
    write_probes,
)
from facetry.engines.serving import ServedClassifier
from facetry.errors import ExportError
from facetry.models.folder import open_folder, write_checksums
from facetry.predictors.ensemble import Ensemble

ENGINE = EngineConfig(name="openvino", num_threads=1)
NUM_PROBES = 4


def probes_of(model: Path) -> Probes:
    """What an export answers to photos of noise."""
    served = uncalibrated(load(model, ENGINE))
    assert isinstance(served, ServedClassifier)
    side = served.preprocesses[0].size_px
    pixels = np.random.RandomState(0).randint(0, 256, (NUM_PROBES, 3, side, side)).astype(np.uint8)
    return Probes(pixels=pixels, probabilities=served.engine(pixels))


def add_probes(model: Path, probes: Probes) -> None:
    """Give a model's export these probes."""
    place = export_folder(model, "openvino")
    write_probes(place, probes)
    write_checksums(place)


@pytest.fixture(scope="module")
def probes(exported: Path) -> Probes:
    """What the tiny model's export answers; not to be written to."""
    return probes_of(exported)


@pytest.fixture
def model(exported: Path, probes: Probes, tmp_path: Path) -> Path:
    """The exported model with probes."""
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    add_probes(folder, probes)
    return folder


def check(model: Path) -> None:
    folder = open_folder(model)
    check_exports(load(folder, ENGINE), folder)


def test_probes_are_among_the_checked_files_and_come_back(model: Path, probes: Probes) -> None:
    place = export_folder(model, "openvino")
    read_export(place)
    found = read_probes(place)
    assert found is not None
    np.testing.assert_array_equal(found.pixels, probes.pixels)
    np.testing.assert_array_equal(found.probabilities, probes.probabilities)
    (place / PROBES).write_bytes((place / PROBES).read_bytes()[:-1])
    with pytest.raises(ExportError, match=PROBES):
        read_export(place)


def test_an_export_that_answers_as_it_did_passes(model: Path) -> None:
    assert isinstance(load(model, ENGINE), CalibratedPredictor), "wrappers are seen through"
    check(model)


def test_an_older_export_has_none_and_still_loads(exported: Path) -> None:
    assert read_probes(export_folder(exported, "openvino")) is None
    check(exported)


def test_a_model_that_was_not_opened_from_an_export_is_not_checked(model: Path, probes: Probes) -> None:
    add_probes(model, replace(probes, probabilities=1 - probes.probabilities))
    folder = open_folder(model)
    check_exports(load(folder), folder)
    check_exports(load(folder, EngineConfig(name="torch")), folder)


_WEIGHTS = re.compile(r'element_type="f32"[^>]*offset="(\d+)" size="(\d{4,})"')


def bend(place: Path) -> None:
    """Turn the sign of an export's weights, which leaves its files readable."""
    content = bytearray((place / "model.bin").read_bytes())
    for offset, num_bytes in _WEIGHTS.findall((place / "model.xml").read_text()):
        values = np.frombuffer(content, np.float32, offset=int(offset), count=int(num_bytes) // 4)
        values *= -1
    (place / "model.bin").write_bytes(content)


def test_bent_weights_are_noticed_though_their_checksums_fit(model: Path) -> None:
    place = export_folder(model, "openvino")
    bend(place)
    write_checksums(place)
    with pytest.raises(ExportError, match="does not answer as it did") as caught:
        check(model)
    assert str(model) in caught.value.message
    assert "facetry export" in caught.value.hint


def test_of_an_ensemble_the_member_at_fault_is_named(model: Path, tmp_path: Path) -> None:
    bent = Path(shutil.copytree(model, tmp_path / "bent"))
    probes = read_probes(export_folder(model, "openvino"))
    assert probes is not None
    add_probes(bent, replace(probes, probabilities=probes.probabilities[::-1].copy()))
    members = {each.name: open_folder(each) for each in (model, bent)}
    predictor = Ensemble.of(
        {name: uncalibrated(load(each, ENGINE)) for name, each in members.items()},
        {"model": 1, "bent": 1},
    )
    with pytest.raises(ExportError, match=f"The export of {bent} does not answer"):
        check_exports(predictor, replace(members["model"], members=members))


@dataclass
class Answering:
    """An engine that gives the same answers to all photos."""

    answers: NDArray[np.float32]
    description: str = "constant"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: ARG002
        return self.answers

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise NotImplementedError

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        raise NotImplementedError


def answers(*values: float) -> NDArray[np.float32]:
    return np.array([[values]], dtype=np.float32)


@pytest.mark.parametrize(
    ("precision", "expected", "found", "passes"),
    [
        ("fp32", (0.6, 0.4), (0.6005, 0.3995), True),
        ("fp32", (0.6, 0.4), (0.602, 0.398), False),
        ("fp32", (0.5001, 0.4999), (0.4999, 0.5001), True),
        ("fp32", (0.6, 0.4), (float("nan"), 0.4), False),
        ("int8", (0.6, 0.4), (0.65, 0.35), True),
        ("bf16", (0.6, 0.4), (0.65, 0.35), True),
        ("fp16", (0.57, 0.43), (0.49, 0.51), False),
        ("fp16", (0.54, 0.46), (0.49, 0.51), True),
        ("int8", (0.6, 0.4), (0.75, 0.25), False),
        ("fp32", (0.6, 0.4), (0.6, 0.3, 0.1), False),
        ("fp32", (1.0,), (1.0,), True),
    ],
)
def test_how_much_an_answer_may_differ(
    precision: Precision, expected: tuple[float, ...], found: tuple[float, ...], passes: bool
) -> None:
    probes = Probes(pixels=np.zeros((1, 3, 8, 8), np.uint8), probabilities=answers(*expected))
    expectation = nullcontext() if passes else pytest.raises(ExportError, match="The export of model")
    with expectation:
        check_probes(Answering(answers(*found)), probes, precision=precision, name="model")


def savez(path: Path, **arrays: NDArray[np.generic]) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]


PIXELS = np.zeros((2, 3, 8, 8), np.uint8)
ANSWERS = np.zeros((2, 1, 2), np.float32)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: savez(path, pixels=PIXELS),
        lambda path: savez(path, pixels=PIXELS[0], probabilities=ANSWERS),
        lambda path: savez(path, pixels=PIXELS, probabilities=ANSWERS[:1]),
        lambda path: savez(path, pixels=PIXELS[:0], probabilities=ANSWERS[:0]),
        lambda path: savez(path, pixels=PIXELS, probabilities=ANSWERS.astype(np.float64)),
        lambda path: savez(path, pixels=np.array([{}]), probabilities=ANSWERS),
    ],
)
def test_damaged_probes_are_named(model: Path, damage: Callable[[Path], object]) -> None:
    place = export_folder(model, "openvino")
    damage(place / PROBES)
    write_checksums(place)
    with pytest.raises(ExportError, match=f"{PROBES} is damaged"):
        check(model)


def test_probes_of_another_size_are_refused(model: Path, probes: Probes) -> None:
    add_probes(model, replace(probes, pixels=probes.pixels[..., :8, :8]))
    with pytest.raises(ExportError, match="of another size"):
        check(model)
