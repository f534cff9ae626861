"""Quantisation: which layers become whole numbers, and what is said of a graph that cannot."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from facetry.build.load import load, load_plain
from facetry.engines.engine import package
from facetry.engines.export_folder import export_folder, metadata
from facetry.engines.torch import convert
from facetry.engines.torch.convert import Form, quantise_onnx
from facetry.engines.torch.graph import Graph
from facetry.errors import ExportError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig


@pytest.mark.parametrize(
    ("backbone", "has_attention"), [("nano_vit", True), ("nano_coca", True), ("nano_convnext", False)]
)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_the_form_of_a_graph(
    tiny_model: Path, backbone: str, has_attention: bool, num_layers: int
) -> None:
    taxonomy = load(tiny_model).taxonomy
    config = BackboneConfig(name=backbone, weights="none")
    heads = HeadsConfig(hidden_dim=8, num_hidden_layers=num_layers)
    graph = Graph(build_classifier(taxonomy, config, heads, ImageConfig()))
    assert Form.of(graph) == Form(has_attention=has_attention, num_stacked=num_layers)


def test_the_tower_is_quantised_the_heads_are_not_and_the_metadata_stays(
    exported: Path, tmp_path: Path
) -> None:
    onnx = package("onnx")
    classifier = load_plain(exported)
    assert isinstance(classifier, Classifier)
    graph, file = Graph(classifier), tmp_path / "model.onnx"
    shutil.copyfile(export_folder(exported, "onnx") / file.name, file)
    photos = np.random.RandomState(0).randint(0, 256, (2, 3, 64, 64)).astype(np.uint8)
    quantise_onnx(file, list(photos), Form.of(graph))
    model = onnx.load(file)
    assert {each.key: each.value for each in model.metadata_props} == metadata(
        graph.taxonomy, graph.preprocess
    )
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in {"Conv", "MatMul", "Gemm"}]
    is_int8 = [made_by.get(node.input[1]) == "DequantizeLinear" for node in layers]  # of its weights
    assert is_int8 == [True] * (len(layers) - 2) + [False, False]


def test_a_graph_that_cannot_be_quantised() -> None:
    form = Form(has_attention=False, num_stacked=1)
    with pytest.raises(ExportError, match="cannot quantise") as caught:
        convert._quantise(object(), [np.zeros(1)], [], form)
    assert "--int8" in caught.value.hint
