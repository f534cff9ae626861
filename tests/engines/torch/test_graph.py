"""All heads at once are the heads of each category, and what cannot be a graph is refused."""

import numpy as np
import pytest
import torch

from facetry.engines.serving import ServedClassifier
from facetry.engines.torch.graph import Graph
from facetry.errors import ExportError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import HeadsConfig, ImageConfig, PhotosConfig, TextConfig
from tests.engines.drawing import drawn_products, noise
from tests.models.conftest import ODD, SMALL_VIT, make_classifier, randomise


class InTorch:
    """The graph itself as an engine."""

    description = "torch"

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.graph(torch.from_numpy(pixels)).numpy()


@pytest.mark.parametrize(
    "heads",
    [
        HeadsConfig(hidden_dim=8),
        HeadsConfig(hidden_dim=5, num_hidden_layers=2),
        HeadsConfig(hidden_dim=6, num_hidden_layers=3, norms="first"),
        HeadsConfig(hidden_dim=5, num_hidden_layers=2, shared=True),
        HeadsConfig(hidden_dim=8, standardise=True),
        HeadsConfig(hidden_dim=5, num_hidden_layers=2, shared=True, standardise=True),
    ],
    ids=[
        "one layer",
        "two layers",
        "three layers, one norm",
        "shared",
        "standardised",
        "shared and standardised",
    ],
)
def test_equals_the_classifier(heads: HeadsConfig) -> None:
    torch.manual_seed(0)
    backbone = SMALL_VIT.model_copy(update={"intermediates": 1})
    classifier = build_classifier(ODD, backbone, heads, ImageConfig(size_px=16))
    randomise(classifier.heads)
    classifier.train()(torch.from_numpy(noise(16, 40)), torch.arange(40) % 3)  # averages of its own
    graph = Graph(classifier)
    served = ServedClassifier(ODD, graph.preprocess, InTorch(graph))
    products = drawn_products(classifier)
    expected, got = classifier.predict(products), served.predict(products)
    np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-5)
    assert got.problems == expected.problems
    assert np.ptp(got.confidence[got.head_mask]) > 0.1  # not all alike


def test_gives_all_heads_of_every_photo() -> None:
    graph = Graph(make_classifier())
    probabilities = InTorch(graph)(noise(16, 3))
    num_values = [len(head.values) for head in ODD.heads]
    assert probabilities.shape == (3, len(num_values), 4)
    assert probabilities.dtype == np.float32
    for head, count in enumerate(num_values):
        np.testing.assert_allclose(probabilities[:, head].sum(axis=1), min(count, 1), atol=1e-6)
        assert (probabilities[:, head, count:] == 0).all()


def test_leaves_the_classifier_as_it_was() -> None:
    classifier = make_classifier()
    before = {name: each.clone() for name, each in classifier.state_dict().items()}
    Graph(classifier)
    assert all(torch.equal(each, before[name]) for name, each in classifier.state_dict().items())
    assert all(each.requires_grad for each in classifier.heads.parameters())


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (make_classifier(text=TextConfig(weights="none")), "reads a product's text"),
        (make_classifier(photos=PhotosConfig(max=2)), "reads several photos"),
    ],
    ids=["text", "photos"],
)
def test_refuses_what_cannot_be_a_graph(classifier: Classifier, message: str) -> None:
    with pytest.raises(ExportError, match=message) as caught:
        Graph(classifier)
    assert "torch engine" in caught.value.hint
