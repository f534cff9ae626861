"""The engines of both runtimes: what they say, what they refuse, and that they can share."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from facetry.engines.engine import EngineConfig, Precision, package
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine, shared_core
from facetry.engines.torch.convert import save_openvino
from facetry.engines.torch.engine import TorchEngine
from facetry.engines.torch.graph import Graph
from facetry.errors import EngineError, ExportError, MissingExtra
from facetry.runtime.extras import is_installed
from tests.engines.drawing import noise
from tests.models.conftest import make_classifier

ENGINES = (OpenVinoEngine, OnnxEngine)
AnyEngine = type[OpenVinoEngine] | type[OnnxEngine]


@pytest.fixture
def files(converted: Path) -> dict[object, Path]:
    """The same graph for each engine."""
    return {OpenVinoEngine: converted / "model.xml", OnnxEngine: converted / "model.onnx"}


@pytest.mark.parametrize(
    ("engine", "num_threads", "description"),
    [
        (OpenVinoEngine, 1, r"OpenVINO 20\d\d\.\d+\.\d+, fp32, 1 thread"),
        (OnnxEngine, 2, r"ONNX Runtime \d+\.\d+\.\d+, fp32, 2 threads"),
        (OpenVinoEngine, None, r"OpenVINO .*, fp32, \d+ threads?"),
    ],
)
def test_says_what_it_is(
    files: dict[object, Path], engine: AnyEngine, num_threads: int | None, description: str
) -> None:
    import re

    opened = engine.load(files[engine], num_threads=num_threads)
    assert re.fullmatch(description, opened.description)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_batch_size_and_thread_count_gives_the_same(
    files: dict[object, Path], engine: AnyEngine
) -> None:
    photos = noise(16, 7)
    expected = engine.load(files[engine], num_threads=1)(photos)
    two = engine.load(files[engine], num_threads=2)
    for count in (1, 2, 3, 7):
        np.testing.assert_allclose(two(photos[:count]), expected[:count], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_photos_need_not_be_contiguous(files: dict[object, Path], engine: AnyEngine) -> None:
    opened, photos = engine.load(files[engine], num_threads=2), noise(16, 6)
    np.testing.assert_allclose(opened(photos[::2]), opened(photos)[::2], atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_answer_stays_when_others_follow(files: dict[object, Path], engine: AnyEngine) -> None:
    opened, photos = engine.load(files[engine], num_threads=2), noise(16, 4)
    first = opened(photos[:2])
    kept = first.copy()
    opened(photos[2:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_may_share_it(files: dict[object, Path], engine: AnyEngine) -> None:
    opened, photos = engine.load(files[engine], num_threads=2), noise(16, 5)
    expected = opened(photos)
    rows = [[row, (row + 1) % 5] for row in range(5)] * 4
    with ThreadPoolExecutor(4) as pool:
        for own, got in zip(rows, pool.map(lambda each: opened(photos[each]), rows), strict=True):
            np.testing.assert_allclose(got, expected[own], atol=1e-6)


def test_openvino_reads_a_model_in_memory(converted: Path) -> None:
    model = shared_core().read_model(converted / "model.xml")
    assert OpenVinoEngine.load(model, num_threads=1)(noise(16, 2)).shape == (2, 6, 4)


@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_what_the_heads_read(files: dict[object, Path], engine: AnyEngine) -> None:
    photos, graph = noise(16, 3), Graph(make_classifier())
    expected = TorchEngine(graph, EngineConfig()).embed(photos)
    opened = engine.load(files[engine])
    np.testing.assert_allclose(opened.embed(photos), expected, atol=1e-5)
    probabilities, features = opened.predict_and_embed(photos)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities, opened(photos), atol=1e-6)
    with torch.no_grad():
        answers = graph.answer(torch.from_numpy(expected)).numpy()
    np.testing.assert_allclose(engine.load(files[engine])(photos), answers, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_of_an_earlier_version_has_no_features(
    files: dict[object, Path], tmp_path: Path, engine: AnyEngine
) -> None:
    if engine is OpenVinoEngine:
        model = shared_core().read_model(files[engine])
        model.remove_result(model.get_results()[1])
        save_openvino(model, tmp_path, {})
    else:
        onnx = package("onnx")
        model = onnx.load(files[engine])
        del model.graph.output[1]
        onnx.save(model, tmp_path / "model.onnx")
    opened, photos = engine.load(tmp_path / files[engine].name), noise(16, 2)
    np.testing.assert_allclose(opened(photos), engine.load(files[engine])(photos), atol=1e-6)
    with pytest.raises(ExportError, match="has no features"):
        opened.embed(photos)


@pytest.mark.parametrize("engine", ENGINES)
def test_refuses_a_file_that_is_none(tmp_path: Path, engine: AnyEngine) -> None:
    for name, content in {"model.xml": b"<net/>", "model.onnx": b"nothing"}.items():
        (tmp_path / name).write_bytes(content)
    file = tmp_path / ("model.onnx" if engine is OnnxEngine else "model.xml")
    with pytest.raises(ExportError, match=rf"cannot read .*{file.name}") as caught:
        engine.load(file)
    assert caught.value.hint == "Export the model again."


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_refuses_numbers_that_it_does_not_compute_in(
    files: dict[object, Path], precision: Precision
) -> None:
    with pytest.raises(EngineError, match=f"does not compute in {precision} on a CPU") as caught:
        OnnxEngine.load(files[OnnxEngine], precision=precision)
    assert caught.value.hint == "Use --dtype fp32."
    capabilities = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision.upper() in capabilities:
        return
    with pytest.raises(EngineError, match=f"This CPU does not compute in {precision}"):
        OpenVinoEngine.load(files[OpenVinoEngine], precision=precision)


@pytest.mark.parametrize(
    ("engine", "name", "extra"),
    [(OpenVinoEngine, "openvino", "openvino"), (OnnxEngine, "onnxruntime", "onnx")],
)
def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: AnyEngine, name: str, extra: str
) -> None:
    assert is_installed(name)
    monkeypatch.setitem(sys.modules, name, None)
    assert not is_installed(name)
    with pytest.raises(MissingExtra, match=rf"facetry\[{extra}\]"):
        engine.load(tmp_path / "model")


def test_no_telemetry_is_sent() -> None:
    package("openvino")
    package("nncf")
    from nncf.telemetry.wrapper import NNCFTelemetryStub, telemetry
    from openvino.tools.ovc import telemetry_stub, telemetry_utils

    assert telemetry_utils.tm is telemetry_stub
    assert isinstance(telemetry, NNCFTelemetryStub)
    assert sys.modules["openvino_telemetry"] is None


def test_signal_handlers_work_after_engines_were_closed(converted: Path) -> None:
    code = (
        "import os, signal, sys, threading\n"
        "from pathlib import Path\n"
        "from facetry.engines.runtimes import OpenVinoEngine\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('handled'))\n"
        "engines = [OpenVinoEngine.load(Path(sys.argv[1])) for _ in range(3)]\n"
        "del engines[0]\n"
        "thread = threading.Thread(target=engines.clear)\n"
        "thread.start()\n"
        "thread.join()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    words = [sys.executable, "-c", code, converted / "model.xml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
