"""An export is whole and of the right weights, or it is not used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from facetry.engines.engine import Precision, Runtime
from facetry.engines.export_folder import (
    EXPORT,
    ExportNote,
    export_folder,
    metadata,
    read_export,
    write_export,
)
from facetry.errors import ExportError, ModelFolderError
from facetry.models.folder import CHECKSUMS, RECIPE, WEIGHTS, open_folder, write_checksums
from facetry.product import Preprocess
from facetry.taxonomy import Taxonomy
from tests.models.conftest import ODD


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with some weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / RECIPE).write_text("kind: classifier")
    (folder / WEIGHTS).write_bytes(b"weights")
    write_checksums(folder)
    return folder


def export(model: Path, runtime: Runtime = "openvino", precision: Precision = "fp32") -> Path:
    note = ExportNote(
        runtime=runtime,
        precision=precision,
        weights=open_folder(model).weights_sum or "",
        versions={"openvino": "1.2.3"},
    )
    folder = export_folder(model, note.name)
    folder.mkdir(parents=True)
    (folder / "model.xml").write_text("a graph")
    write_export(folder, note)
    return folder


@pytest.mark.parametrize(
    ("runtime", "precision", "name", "file"),
    [
        ("openvino", "fp32", "openvino", "model.xml"),
        ("openvino", "int8", "openvino-int8", "model.xml"),
        ("onnx", "fp32", "onnx", "model.onnx"),
        ("onnx", "int8", "onnx-int8", "model.onnx"),
    ],
)
def test_what_is_written_is_read(
    model: Path, runtime: Runtime, precision: Precision, name: str, file: str
) -> None:
    folder = export(model, runtime, precision)
    assert folder == model / "engines" / name
    assert open_folder(model).exports == {name}
    found = read_export(folder)
    assert (found.note.runtime, found.note.precision) == (runtime, precision)
    assert found.note.versions == {"openvino": "1.2.3"}
    assert found.file == folder / file
    assert found.fits(open_folder(model))


def test_exports_are_not_the_models_own_files(model: Path) -> None:
    sums = (model / CHECKSUMS).read_text()
    export(model)
    write_checksums(model)
    assert (model / CHECKSUMS).read_text() == sums
    (model / "engines" / "openvino" / "model.xml").write_text("damaged")
    assert open_folder(model).kind == "classifier"


def test_an_export_of_other_weights_does_not_fit(model: Path) -> None:
    found = read_export(export(model))
    (model / WEIGHTS).write_bytes(b"trained again")
    write_checksums(model)
    assert not found.fits(open_folder(model))


def test_an_export_fits_a_folder_without_weights(model: Path) -> None:
    found = read_export(export(model))
    (model / WEIGHTS).unlink()
    write_checksums(model)
    assert open_folder(model).weights_sum is None
    assert found.fits(open_folder(model))


def _cut(folder: Path) -> None:
    (folder / "model.xml").write_text("a gra")


def _forget(folder: Path) -> None:
    (folder / "model.xml").unlink()


def _unfinish(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()


def _change(folder: Path, **content: object) -> None:
    note = json.loads((folder / EXPORT).read_text())
    (folder / EXPORT).write_text(json.dumps({**note, **content}))
    write_checksums(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "model.xml is damaged"),
        (_forget, "model.xml is missing"),
        (_unfinish, "checksums.json is damaged"),
        (lambda folder: _change(folder, format=2), "format 2; this version reads up to 1"),
        (lambda folder: _change(folder, format="new"), "export.json is missing or damaged"),
        (lambda folder: _change(folder, runtime="abacus"), "export.json is damaged"),
    ],
    ids=["cut", "a file missing", "unfinished", "newer", "no format", "unknown runtime"],
)
def test_refuses_a_bad_export(model: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = export(model)
    damage(folder)
    with pytest.raises(ExportError, match=message) as caught:
        read_export(folder)
    assert caught.value.hint


def test_weights_that_nobody_reads_need_not_be_whole(model: Path) -> None:
    (model / WEIGHTS).write_bytes(b"damaged")
    opened = open_folder(model)
    with pytest.raises(ModelFolderError, match="damaged"):
        opened.check_weights()
    (model / WEIGHTS).unlink()
    with pytest.raises(ModelFolderError, match="missing"):
        open_folder(model)


def test_a_file_says_what_it_predicts_and_from_what() -> None:
    half = (0.5, 0.5, 0.5)
    remover = {"background": "rembg", "background_model": Path("/some/where/background.onnx")}
    preprocess = Preprocess.model_validate({"size_px": 8, "mean": half, "std": half, **remover})
    texts = metadata(ODD, preprocess)
    assert Taxonomy.from_json(texts["facetry.taxonomy"]) == ODD
    found = Preprocess.model_validate_json(texts["facetry.preprocess"])
    assert found == preprocess.model_copy(update={"background_model": Path("background.onnx")})
    assert texts["facetry.format"] == "1"
