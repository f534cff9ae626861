"""The torch engine on the CPU; what only a GPU does is marked so.

Shapes: B photos, S side in pixels, H heads of all categories, V values.
"""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facetry.engines.engine import EngineConfig, threads_text
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch.engine import TorchEngine, require_precision
from facetry.engines.torch.graph import Graph, WithFeatures
from facetry.errors import EngineError
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.product import Product
from facetry.runtime.progress import Silent
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["small", "wide"], "pattern": ["dots", "plain", "woven"]},
        "Kurtis": {"sleeve": ["half", "long", "none", "short"]},
    }
)
CPU = torch.device("cpu")
# torch's own compiler uses what torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CARDS = ["nano_vit", "nano_convnext", "nano_coca", "nano_seresnext", "nano_swin"]


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="module")
def build() -> Callable[[str], Classifier]:
    def make(name: str = "nano_vit") -> Classifier:
        torch.manual_seed(0)
        backbone = BackboneConfig(name=name, weights="none")
        heads = HeadsConfig(hidden_dim=8)
        return build_classifier(TAXONOMY, backbone, heads, ImageConfig(size_px=64)).eval()

    return make


def photos(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Photos (B, 3, S, S)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)


def engine(classifier: Classifier, **config: object) -> TorchEngine:
    return TorchEngine(Graph(classifier), EngineConfig.model_validate(config))


@pytest.mark.parametrize("name", CARDS)
def test_equal_to_the_classifier(build: Callable[[str], Classifier], name: str) -> None:
    classifier = build(name)
    served = ServedClassifier(TAXONOMY, classifier.backbone.preprocess, engine(classifier))
    products = [
        Product(id=row, category=category, problem=problem, pixels={classifier.preprocesses[0]: pixels})
        for row, (category, problem, pixels) in enumerate(
            zip(
                ["Sarees", "Kurtis", "Hats", "Sarees", "Kurtis"],
                ["", "", "", "gone", ""],
                photos(5),
                strict=True,
            )
        )
    ]
    expected, found = classifier.predict(products), served.predict(products)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.problems == expected.problems


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.005)])
def test_half_precision_of_the_tower(
    build: Callable[[str], Classifier], name: str, precision: str, tolerance: float
) -> None:
    expected = engine(build(name))(photos(3))
    half = engine(build(name), precision=precision)
    found = half(photos(3))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert not np.array_equal(found, expected)
    assert f", {precision}, " in half.description


def test_half_precision_leaves_heads_and_batch_norms(build: Callable[[str], Classifier]) -> None:
    classifier = build("nano_seresnext")
    engine(classifier, precision="bf16")
    norms = [each for each in classifier.modules() if isinstance(each, nn.BatchNorm2d)]
    convolutions = [each for each in classifier.modules() if isinstance(each, nn.Conv2d)]
    assert norms
    assert all(each.weight.dtype == each.running_var.dtype == torch.float32 for each in norms)  # type: ignore[union-attr]
    assert all(each.weight.dtype == torch.bfloat16 for each in convolutions)
    assert all(each.dtype == torch.float32 for each in classifier.heads.parameters())


class Counting(nn.Module):
    """Runs a graph, notes how many photos come at once, and has memory for `room` of them."""

    def __init__(self, graph: WithFeatures, room: int) -> None:
        super().__init__()
        self.graph, self.room = graph, room
        self.sizes: list[int] = []

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        outputs: tuple[Tensor, Tensor] = self.graph(pixels)
        return outputs


def counting(classifier: Classifier, room: int, **config: object) -> tuple[TorchEngine, Counting]:
    made = engine(classifier, **config)
    made._graph = module = Counting(WithFeatures(Graph(classifier)), room)
    return made, module


def test_batches_that_do_not_fit_are_cut_for_good(build: Callable[[str], Classifier]) -> None:
    classifier = build("nano_vit")
    expected = engine(classifier)(photos(11))
    cut, module = counting(classifier, 3)
    np.testing.assert_allclose(cut(photos(11)), expected, atol=1e-6)
    assert module.sizes == [11, 6, 3, 3, 3, 2]
    module.sizes.clear()
    probabilities, features = cut.predict_and_embed(photos(11))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(features, engine(classifier).embed(photos(11)), atol=1e-5)
    assert module.sizes == [3, 3, 3, 2]


def test_no_memory_for_one_photo(build: Callable[[str], Classifier]) -> None:
    cut, _ = counting(build("nano_vit"), 0)
    with pytest.raises(EngineError, match="single photo"):
        cut(photos(4))


@pytest.mark.parametrize(("count", "filled"), [(1, 8), (8, 8), (9, 16), (16, 16), (33, 64)])
def test_fixed_shapes_are_few(build: Callable[[str], Classifier], count: int, filled: int) -> None:
    """What a compiled graph and recorded kernels are given; here neither of them runs."""
    classifier = build("nano_vit")
    fixed, module = counting(classifier, 64, compile=True)
    fixed._compiled = module
    for seed in (0, 1):  # the second batch overwrites the first one's place
        expected = engine(classifier)(photos(count, seed))
        np.testing.assert_allclose(fixed(photos(count, seed)), expected, atol=1e-6)
    assert module.sizes == [filled, filled]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled(build: Callable[[str], Classifier], precision: str) -> None:
    expected = engine(build("nano_vit"), precision=precision)(photos(5))
    listener = Listener()
    config = EngineConfig.model_validate({"precision": precision, "compile": True})
    compiled = TorchEngine(Graph(build("nano_vit")), config, listener)
    np.testing.assert_allclose(compiled(photos(5)), expected, atol=0.01 if precision == "bf16" else 1e-5)
    assert listener.said == []
    assert ", compiled, " in compiled.description


def test_what_cannot_be_compiled_runs_as_it_is(build: Callable[[str], Classifier]) -> None:
    classifier, listener = build("nano_vit"), Listener()
    broken = TorchEngine(Graph(classifier), EngineConfig(compile=True), listener)

    def fail(_: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("\nno C++ compiler\nsearched in ...")

    broken._compiled = fail
    np.testing.assert_allclose(broken(photos(2)), engine(classifier)(photos(2)), atol=1e-6)
    assert listener.said == ["The graph cannot be compiled and runs as it is: no C++ compiler"]
    broken(photos(2))
    assert len(listener.said) == 1
    assert "compiled" not in broken.description


def test_pixels_that_must_not_be_written_to(build: Callable[[str], Classifier]) -> None:
    given = photos(3)
    expected = engine(classifier := build("nano_vit"))(given)
    given.flags.writeable = False
    np.testing.assert_array_equal(engine(classifier)(given), expected)
    np.testing.assert_allclose(engine(classifier)(given[::-1]), expected[::-1], atol=1e-6)


def test_called_by_several_threads(build: Callable[[str], Classifier]) -> None:
    classifier = build("nano_vit")
    shared, _ = counting(classifier, 64, compile=True)
    shared._compiled = None
    found: dict[int, NDArray[np.float32]] = {}

    def work(seed: int) -> None:
        found[seed] = shared(photos(4, seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for seed in range(6):
        np.testing.assert_allclose(found[seed], engine(classifier)(photos(4, seed)), atol=1e-6)


def test_threads_are_set_and_said(build: Callable[[str], Classifier]) -> None:
    before = torch.get_num_threads()
    try:
        assert engine(build("nano_vit"), num_threads=2).description.endswith("fp32, 2 threads")
        assert torch.get_num_threads() == 2
        assert engine(build("nano_vit"), num_threads=1).description.endswith("fp32, 1 thread")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert engine(build("nano_vit")).description == f"torch {version()}, fp32, {threads_text(before)}"


def version() -> str:
    return torch.__version__.partition("+")[0]


@pytest.mark.parametrize(
    ("precision", "is_there"),
    [
        ("auto", True),
        ("fp32", True),
        ("bf16", torch.cpu._is_avx512_bf16_supported()),
        ("fp16", torch.cpu._is_amx_fp16_supported()),
        ("int8", False),
    ],
)
def test_precisions_of_the_cpu(precision: str, is_there: bool) -> None:
    config = EngineConfig.model_validate({"precision": precision})
    if is_there:
        require_precision(config, CPU)
    else:
        with pytest.raises(EngineError, match=precision):
            require_precision(config, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [{}, {"compile": True}, {"cuda_graphs": False}])
def test_on_a_gpu(build: Callable[[str], Classifier], config: dict[str, object]) -> None:
    expected = engine(build("nano_vit"))(photos(21))
    on_gpu = engine(build("nano_vit").cuda(), precision="bf16", **config)
    for count in (21, 5, 21):
        np.testing.assert_allclose(on_gpu(photos(21)[:count]), expected[:count], atol=0.03)
    assert ("CUDA graphs" in on_gpu.description) == ("cuda_graphs" not in config)
