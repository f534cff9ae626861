"""Every family's graph runs on both runtimes and answers as the classifier does."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from facetry.engines.engine import Engine, Runtime, package
from facetry.engines.export_folder import metadata
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine, shared_core
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch import convert
from facetry.engines.torch.graph import Graph
from facetry.errors import ExportError
from facetry.models.classifier.classifier import Classifier
from facetry.taxonomy import Taxonomy
from tests.engines.drawing import (
    Bessel,
    Mean,
    card_classifier,
    drawn_products,
    noise,
    tower_classifier,
)
from tests.engines.exports import RUNTIMES, convert_to
from tests.models.conftest import ODD, make_classifier

FILES = {"openvino": "model.xml", "onnx": "model.onnx"}

CARDS = {
    "nano_vit": {"layers": 1},
    "nano_coca": {"layers": 1},
    "nano_convnext": {},
    "nano_seresnext": {},
    "nano_swin": {},
    "timm:test_efficientnet": {"pad_type": "same"},  # a MobileNet's blocks, and few of them
}


def open_engine(file: Path) -> Engine:
    engine = OnnxEngine if file.suffix == ".onnx" else OpenVinoEngine
    return engine.load(file, num_threads=2)


def require_equal(classifier: Classifier, file: Path) -> None:
    """Require that the converted graph in a file answers as its classifier."""
    graph = Graph(classifier)
    engine = open_engine(file)
    served = ServedClassifier(ODD, graph.preprocess, engine)
    products = drawn_products(classifier)
    expected = classifier.predict(products)
    assert np.ptp(expected.confidence[expected.head_mask]) > 0.02  # not all alike
    for count in (0, 1, 3, 9):  # of which 0, 1, 2 and 7 have photos
        got = served.predict(products[:count])
        np.testing.assert_allclose(got.probabilities, expected.probabilities[:count], atol=1e-4)
        assert got.problems == expected.problems[:count]
    photos = noise(graph.preprocess.size_px, 2)
    assert (engine(photos)[:, ~graph.heads.value_mask.numpy()] == 0).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_as_the_classifier(runtime: Runtime, converted: Path) -> None:
    require_equal(make_classifier().eval(), converted / FILES[runtime])


@pytest.fixture(scope="module", params=CARDS)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return card_classifier(request.param, **CARDS[request.param])


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_family_answers_as_its_classifier(
    runtime: Runtime, classifier: Classifier, tmp_path: Path
) -> None:
    require_equal(classifier, convert_to(runtime, Graph(classifier), tmp_path))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(make_classifier())


def test_files_have_the_metadata_that_other_programs_need(graph: Graph, converted: Path) -> None:
    onnx = package("onnx").load(converted / FILES["onnx"])
    openvino = shared_core().read_model(converted / FILES["openvino"])
    texts = metadata(graph.taxonomy, graph.preprocess)
    assert {each.key: each.value for each in onnx.metadata_props} == texts
    assert {name: openvino.get_rt_info(name).value for name in texts} == texts
    assert Taxonomy.from_json(texts["facetry.taxonomy"]) == ODD
    (photos,), (probabilities, features) = onnx.graph.input, onnx.graph.output
    assert (photos.name, probabilities.name) == ("photos", "probabilities")
    assert features.name == "features"
    assert [each.dim_value for each in photos.type.tensor_type.shape.dim] == [0, 3, 16, 16]
    assert str(openvino.input("photos").partial_shape) == "[?,3,16,16]"
    assert str(openvino.output("probabilities").partial_shape) == "[?,6,4]"


def sums(folder: Path) -> dict[str, str]:
    return {each.name: sha256(each.read_bytes()).hexdigest() for each in folder.iterdir()}


def test_the_same_files_each_time(graph: Graph, converted: Path, tmp_path: Path) -> None:
    files = [convert_to(runtime, graph, tmp_path) for runtime in RUNTIMES]
    assert sums(tmp_path) == sums(converted)
    project = str(Path(__file__).parents[3]).encode()
    assert not any(project in each.read_bytes() for each in files)


def test_weights_above_the_limit_are_in_a_separate_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "_MOST_IN_ONE_FILE", 0)
    engine = open_engine(convert_to("onnx", Graph(tower_classifier(Mean())), tmp_path))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert engine(noise(16, 2)).shape == (2, 6, 4)


@pytest.mark.parametrize(("runtime", "name"), [("openvino", "OpenVINO"), ("onnx", "ONNX")], ids=RUNTIMES)
def test_names_an_operator_that_a_runtime_does_not_have(
    runtime: Runtime, name: str, tmp_path: Path
) -> None:
    graph = Graph(tower_classifier(Bessel()))
    with pytest.raises(ExportError, match=rf"converted to {name}: .*bessel_j0") as caught:
        convert_to(runtime, graph, tmp_path)
    assert "torch engine" in caught.value.hint
    assert not list(tmp_path.iterdir())
