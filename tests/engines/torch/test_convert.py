"""Every family's graph runs on both runtimes and answers as the classifier does."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from facetry.engines.engine import Engine, package
from facetry.engines.export_folder import metadata
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine, shared_core
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch import convert
from facetry.engines.torch.convert import save_openvino, to_onnx, to_openvino
from facetry.engines.torch.graph import Graph
from facetry.errors import ExportError
from facetry.models.classifier.classifier import Classifier
from facetry.taxonomy import Taxonomy
from tests.engines.drawing import (
    Bessel,
    card_classifier,
    drawn_products,
    noise,
    tower_classifier,
)
from tests.models.conftest import ODD, make_classifier

RUNTIMES = ("openvino", "onnx")

CARDS = {
    "nano_vit": {"layers": 1},
    "nano_coca": {"layers": 1},
    "nano_convnext": {},
    "nano_seresnext": {},
    "nano_swin": {},
    "timm:test_efficientnet": {"pad_type": "same"},  # a MobileNet's blocks, and few of them
}


def convert_to(runtime: str, graph: Graph, folder: Path) -> Path:
    texts = metadata(graph.taxonomy, graph.preprocess)
    if runtime == "onnx":
        to_onnx(graph, folder / "model.onnx", texts)
        return folder / "model.onnx"
    save_openvino(to_openvino(graph), folder, texts)
    return folder / "model.xml"


def open_engine(file: Path) -> Engine:
    engine = OnnxEngine if file.suffix == ".onnx" else OpenVinoEngine
    return engine.load(file, num_threads=2)


FIRST, *OTHERS = CARDS


@pytest.fixture(
    scope="module", params=[FIRST, *(pytest.param(card, marks=pytest.mark.slow) for card in OTHERS)]
)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return card_classifier(request.param, **CARDS[request.param])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_as_the_classifier(runtime: str, classifier: Classifier, tmp_path: Path) -> None:
    graph = Graph(classifier)
    engine = open_engine(convert_to(runtime, graph, tmp_path))
    served = ServedClassifier(ODD, graph.preprocess, engine)
    products = drawn_products(classifier)
    expected = classifier.predict(products)
    assert np.ptp(expected.confidence[expected.head_mask]) > 0.02  # not all alike
    for count in (0, 1, 3, 9):  # of which 0, 1, 2 and 7 have photos
        got = served.predict(products[:count])
        np.testing.assert_allclose(got.probabilities, expected.probabilities[:count], atol=1e-4)
        assert got.problems == expected.problems[:count]
    assert (engine(noise(64, 2))[:, ~graph.heads.value_mask.numpy()] == 0).all()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(make_classifier())


def test_files_tell_other_programs_what_they_need(graph: Graph, tmp_path: Path) -> None:
    onnx = package("onnx").load(convert_to("onnx", graph, tmp_path))
    openvino = shared_core().read_model(convert_to("openvino", graph, tmp_path))
    texts = metadata(graph.taxonomy, graph.preprocess)
    assert {each.key: each.value for each in onnx.metadata_props} == texts
    assert {name: openvino.get_rt_info(name).value for name in texts} == texts
    assert Taxonomy.from_json(texts["facetry.taxonomy"]) == ODD
    (photos,), (probabilities,) = onnx.graph.input, onnx.graph.output
    assert (photos.name, probabilities.name) == ("photos", "probabilities")
    assert [each.dim_value for each in photos.type.tensor_type.shape.dim] == [0, 3, 16, 16]
    assert str(openvino.input("photos").partial_shape) == "[?,3,16,16]"
    assert str(openvino.output("probabilities").partial_shape) == "[?,6,4]"


def test_the_same_files_each_time(graph: Graph, tmp_path: Path) -> None:
    sums = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        for runtime in RUNTIMES:
            convert_to(runtime, graph, folder)
        files = sorted(folder.iterdir())
        sums.append({each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files})
        assert not any(str(Path(__file__).parents[3]).encode() in each.read_bytes() for each in files)
    assert sums[0] == sums[1]


def test_weights_above_the_limit_stand_beside_the_file(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_MOST_IN_ONE_FILE", 0)
    engine = open_engine(convert_to("onnx", graph, tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert engine(noise(16, 2)).shape == (2, 6, 4)


@pytest.mark.parametrize(("runtime", "name"), [("openvino", "OpenVINO"), ("onnx", "ONNX")], ids=RUNTIMES)
def test_names_an_operator_that_a_runtime_does_not_have(runtime: str, name: str, tmp_path: Path) -> None:
    graph = Graph(tower_classifier(Bessel()))
    with pytest.raises(ExportError, match=rf"converted to {name}: .*bessel_j0") as caught:
        convert_to(runtime, graph, tmp_path)
    assert "torch engine" in caught.value.hint
    assert not list(tmp_path.iterdir())
