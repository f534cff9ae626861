"""Predictors on the engine that was chosen for them, from model folders with and without exports."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.confidence.calibration import read_calibration, uncalibrated
from facetry.engines.engine import EngineConfig
from facetry.engines.serving import serve
from facetry.errors import EngineError, ExportError, MissingExtra, ModelFolderError
from facetry.images import load_batches
from facetry.models.folder import WEIGHTS, open_folder, write_checksums
from facetry.predictions import Predictions, Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.predictors.search.predictor import SimilaritySearch
from facetry.product import Product
from facetry.recipe import dump_recipe, parse_recipe
from facetry.runtime.progress import Silent


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def slim(exported: Path, tmp_path: Path) -> Path:
    """The exported model without its weights."""
    return without_weights(exported, tmp_path / "slim")


def without_weights(model: Path, out: Path) -> Path:
    shutil.copytree(model, out)
    for weights in out.rglob(WEIGHTS):
        weights.unlink()
        write_checksums(weights.parent)
    if (calibration := read_calibration(open_folder(model))) is not None:
        calibration.save(open_folder(out))
    return out


@pytest.fixture(scope="module")
def ensemble(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members, each with its exports, one of which counts three times; not to be written to."""
    folder = tmp_path_factory.mktemp("ensemble") / "both"
    member = dict(open_folder(exported).recipe)
    recipe = parse_recipe(
        {"kind": "ensemble", "members": {"a": member, "b": member}, "weights": {"a": 3, "b": 1}}
    )
    for name in ("a", "b"):
        shutil.copytree(exported, folder / "members" / name)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    shutil.copy(exported / "taxonomy.json", folder)
    write_checksums(folder)
    return folder


@pytest.fixture
def batch(catalogue: Catalogue, tiny_predictor: Predictor) -> Sequence[Product]:
    """Decoded products."""
    return next(load_batches(catalogue.products()[:20], tiny_predictor.preprocesses))


PredictOn = Callable[..., tuple[Predictions, str]]


@pytest.fixture
def predict_on(batch: Sequence[Product]) -> PredictOn:
    """Predict the batch with a model folder's predictor on an engine; return its messages, too."""

    def predict(folder: Path, **config: object) -> tuple[Predictions, str]:
        listener = Listener()
        predictor = load(folder, EngineConfig.model_validate(config), reporter=listener)
        return predictor.predict(batch), "\n".join(listener.said)

    return predict


ENGINES: list[tuple[dict[str, object], str]] = [
    ({}, r"Engine: OpenVINO .*, fp32, . threads? \(its export in the model folder\)\."),
    ({"name": "openvino", "num_threads": 1}, r"OpenVINO .*, fp32, 1 thread \(its export"),
    ({"name": "onnxruntime", "num_threads": 1}, r"ONNX Runtime .*, fp32, 1 thread \(its export"),
    ({"name": "torch"}, r"Engine: torch .*, fp32, . threads? \(as requested\)\."),
]


@pytest.mark.parametrize(("config", "message"), ENGINES)
@pytest.mark.parametrize("kind", ["exported", "ensemble"])
def test_every_engine_answers_as_torch(
    request: pytest.FixtureRequest,
    predict_on: PredictOn,
    kind: str,
    config: dict[str, object],
    message: str,
) -> None:
    folder: Path = request.getfixturevalue(kind)
    batch = request.getfixturevalue("batch")
    expected = load(folder).predict(batch)
    found, said = predict_on(folder, **config)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    assert found.problems == expected.problems
    assert len(said.splitlines()) == 1
    assert re.search(message, said)


@pytest.mark.parametrize(("config", "message"), ENGINES[:3])
@pytest.mark.parametrize("kind", ["exported", "ensemble"])
def test_without_weights(
    request: pytest.FixtureRequest,
    predict_on: PredictOn,
    kind: str,
    config: dict[str, object],
    message: str,
) -> None:
    model: Path = request.getfixturevalue(kind)
    folder = without_weights(model, request.getfixturevalue("tmp_path") / "slim")
    found, said = predict_on(folder, **config)
    np.testing.assert_array_equal(found.probabilities, predict_on(model, **config)[0].probabilities)
    assert re.search(message, said)


def test_torch_needs_the_weights(slim: Path, predict_on: PredictOn) -> None:
    with pytest.raises(EngineError, match="only exports: onnx, openvino"):
        predict_on(slim, name="torch")
    with pytest.raises(ModelFolderError, match="facetry export --out"):
        load(slim)


def test_converted_in_memory(tiny_model: Path, predict_on: PredictOn, batch: Sequence[Product]) -> None:
    found, said = predict_on(tiny_model)
    expected = load(tiny_model).predict(batch)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    assert f"(converted in memory; facetry export {tiny_model} --to openvino keeps it)" in said
    assert not (tiny_model / "engines").exists()


def test_an_ensemble_keeps_its_weights(ensemble: Path) -> None:
    served = serve(open_folder(ensemble), EngineConfig(name="openvino"))
    assert isinstance(served, Ensemble)
    assert served.weights == {"a": 0.75, "b": 0.25}


@pytest.mark.usefixtures("converted_before")
def test_an_export_of_other_weights_is_not_used(
    exported: Path, tmp_path: Path, predict_on: PredictOn
) -> None:
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    other = model / "engines" / "openvino"
    note = json.loads((other / "export.json").read_text())
    (other / "export.json").write_text(json.dumps({**note, "weights": "0" * 64}))
    write_checksums(other)
    _, said = predict_on(model)
    first, second = said.splitlines()
    assert "The export openvino was made from other weights" in first
    assert "converted in memory" in second


def test_an_export_that_only_one_member_has_is_not_used(
    ensemble: Path, tmp_path: Path, predict_on: PredictOn
) -> None:
    both = Path(shutil.copytree(ensemble, tmp_path / "both"))
    shutil.rmtree(both / "members" / "b" / "engines" / "onnx")
    with pytest.raises(EngineError, match="it has: openvino"):
        predict_on(both, name="onnxruntime")


@pytest.mark.parametrize("file", ["model.bin", "export.json"])
def test_a_damaged_export_is_refused(
    exported: Path, tmp_path: Path, predict_on: PredictOn, file: str
) -> None:
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    damaged = model / "engines" / "openvino" / file
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    with pytest.raises(ExportError, match=file):
        predict_on(model)


def test_damaged_weights_do_not_matter_to_an_export(
    exported: Path, tmp_path: Path, predict_on: PredictOn
) -> None:
    model = Path(shutil.copytree(exported, tmp_path / "model"))
    (model / WEIGHTS).write_bytes(b"damaged")
    assert "its export" in predict_on(model)[1]
    with pytest.raises(ModelFolderError, match="damaged"):
        predict_on(model, name="torch")


def test_an_engine_that_is_not_installed(
    tiny_model: Path, predict_on: PredictOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    _, said = predict_on(tiny_model)
    assert 'pip install "facetry[openvino]" brings a faster one' in said
    with pytest.raises(MissingExtra, match=r"facetry\[openvino\]"):
        predict_on(tiny_model, name="openvino")
    with pytest.raises(MissingExtra, match=r"facetry\[onnx\]"):
        predict_on(tiny_model, name="onnxruntime")


def test_what_cannot_become_a_graph_runs_as_it_is(drawn: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        {"kind": "search", "hashes": ["dhash"], "split": {"validation": 0.2, "test": 0.2}}
    )
    model = train(recipe, open_catalogue(drawn), tmp_path / "model")
    listener = Listener()
    predictor = load(model, EngineConfig(), reporter=listener)
    assert isinstance(uncalibrated(predictor), SimilaritySearch)
    assert listener.said == ["Engine: the model's own, as it is of the kind search."]
    for config in (
        EngineConfig(name="openvino"),
        EngineConfig(precision="bf16"),
        EngineConfig(compile=True),
    ):
        with pytest.raises(EngineError, match=r"No engine .* it is of the kind search"):
            load(model, config)


ABSENT = (
    "torch", "torchvision", "timm", "open_clip", "accelerate", "transformers", "nncf",
    "matplotlib", "faiss", "imagehash", "cv2", "scipy", "sklearn", "pandas", "cleanvision",
)  # fmt: skip
"""What a light installation does not have."""

WITHOUT = f"""
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

COMMAND = """
from facetry.cli.main import main
sys.argv = ["facetry", *sys.argv[1:]]
main()
"""

PYTHON = """
import facetry, polars
model = facetry.load(sys.argv[1])
table = polars.read_csv(sys.argv[2]).head(1)
print(model.predict(table, images=sys.argv[3])["problem"].to_list())
assert model.embed(table, images=sys.argv[3]).any()
assert not set(sys.modules) & {"torch", "matplotlib"}
"""


def run_light(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run Python code where only the packages of a light installation can be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.fixture
def one_photo(drawn: Path, tmp_path: Path) -> Path:
    """A table of one product."""
    pl.read_csv(drawn / "test.csv").head(1).write_csv(tmp_path / "one.csv")
    return tmp_path / "one.csv"


@pytest.mark.parametrize("name", ["auto", "onnxruntime"])
def test_an_export_predicts_in_a_light_installation(
    slim: Path, one_photo: Path, drawn: Path, tmp_path: Path, name: str
) -> None:
    """The whole of `facetry predict`, from a photo's file to tables, in a process of its own."""
    images, out = drawn / "test_images", tmp_path / "out"
    words = ("predict", slim, one_photo, "--images", images, "-o", out, "--engine", name)
    done = run_light(COMMAND, *words)
    assert done.returncode == 0, done.stderr
    assert "its export in the model folder" in " ".join(done.stderr.split())
    assert pl.read_parquet(out / "predictions.parquet")["id"].n_unique() == 1


def test_a_light_installation_predicts_in_python(slim: Path, one_photo: Path, drawn: Path) -> None:
    done = run_light(PYTHON, slim, one_photo, drawn / "test_images")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[None]\n"


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "mobilenetv2_frozen", "-c", "DRAWN", "-o", "OUT"], "train"),
        (["predict", "MODEL", "DRAWN", "-o", "OUT"], "train"),
        (["search", "MODEL", "DRAWN/train.csv"], "train"),
        (["split", "DRAWN", "-o", "OUT.csv"], "search"),
        (["audit", "DRAWN", "-o", "OUT"], "report"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_what_is_absent_is_named_by_its_extra(
    tiny_model: Path, drawn: Path, tmp_path: Path, words: list[str], extra: str
) -> None:
    places = {"MODEL": tiny_model, "DRAWN": drawn, "OUT": tmp_path / "out"}
    named = words
    for place, path in places.items():
        named = [each.replace(place, str(path)) for each in named]
    done = run_light(COMMAND, *named)
    assert f'pip install "facetry[{extra}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
