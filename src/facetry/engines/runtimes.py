"""The engines of ONNX Runtime and OpenVINO, for the CPU.

OpenVINO computes a batch in several streams, each on one or a few cores: cores that wait for each other
at every layer would lose time whenever one of them decodes a photo.

Shapes: B photos, S side in pixels, D features, H heads of all categories, V values.
"""

import threading
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.engines.engine import (
    FEATURES,
    PROBABILITIES,
    Precision,
    num_cores,
    package,
    threads_text,
)
from facetry.errors import EngineError, ExportError


class OnnxEngine:
    """A session of ONNX Runtime on the CPU; see `engine.Engine`."""

    def __init__(self, session: Any, description: str) -> None:
        self.description = description
        self._session = session
        self._input = session.get_inputs()[0].name

    @classmethod
    def load(
        cls, source: Path, *, precision: Precision = "fp32", num_threads: int | None = None
    ) -> "OnnxEngine":
        """Open the file `model.onnx`.

        `precision` must be that of the file, fp32 or int8. Without `num_threads` all cores are used.

        Raises:
            EngineError: another precision.
            ExportError: ONNX Runtime cannot read the file.
            MissingExtra: onnxruntime is not installed.
        """
        if precision not in {"fp32", "int8"}:
            raise EngineError(
                f"ONNX Runtime does not compute in {precision} on a CPU.", hint="Use --dtype fp32."
            )
        onnxruntime = package("onnxruntime")
        num_threads = num_threads or num_cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # A waiting thread must not occupy a core that decoders need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(
                str(source), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions are not documented
            raise ExportError(
                f"ONNX Runtime cannot read {source}: {error}", hint="Export the model again."
            ) from error
        name = f"ONNX Runtime {onnxruntime.__version__}, {precision}, {threads_text(num_threads)}"
        return cls(session, name)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V) of photos (B, 3, S, S)."""
        return self._run(pixels, PROBABILITIES)[0]

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (B, D) of photos (B, 3, S, S); the heads are not computed."""
        return self._run(pixels, FEATURES)[0]

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (B, H, V) and features (B, D) of photos (B, 3, S, S)."""
        probabilities, features = self._run(pixels, PROBABILITIES, FEATURES)
        return probabilities, features

    def _run(self, pixels: NDArray[np.uint8], *outputs: str) -> list[NDArray[np.float32]]:
        if FEATURES in outputs:
            _require_features({each.name for each in self._session.get_outputs()})
        results: list[NDArray[np.float32]] = self._session.run(outputs, {self._input: pixels})
        return results


_HINTS: dict[Precision, str] = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "fp16": "f16"}
"""OpenVINO's precision of what is not quantised; by default it would use bf16 if the CPU has it."""

_CAPABILITIES: dict[Precision, str] = {"bf16": "BF16", "fp16": "FP16"}
"""OpenVINO's names for a CPU's support of half precision."""


class OpenVinoEngine:
    """A compiled OpenVINO model on the CPU; see `engine.Engine`."""

    def __init__(self, compiled: Any, description: str) -> None:
        self.description = description
        num_streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._outputs = compiled.outputs
        self._requests = [compiled.create_infer_request() for _ in range(num_streams)]
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, source: Any, *, precision: Precision = "fp32", num_threads: int | None = None
    ) -> "OpenVinoEngine":
        """Compile an `openvino.Model`, or the one in the file `model.xml`.

        `precision` int8 is that of a quantised model. Without `num_threads` all cores are used.

        Raises:
            EngineError: the CPU does not support the precision.
            ExportError: OpenVINO cannot read the file.
            MissingExtra: openvino is not installed.
        """
        openvino, core = package("openvino"), shared_core()
        _require_precision(core, precision)
        num_threads = num_threads or num_cores()
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": num_threads,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "ENABLE_CPU_PINNING": False,  # decoders run on the same cores
        }
        try:
            compiled = core.compile_model(source, "CPU", settings)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ExportError(
                f"OpenVINO cannot read {source}: {reason}", hint="Export the model again."
            ) from error
        version = openvino.__version__.partition("-")[0]
        return cls(compiled, f"OpenVINO {version}, {precision}, {threads_text(num_threads)}")

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V) of photos (B, 3, S, S)."""
        return self._run(pixels, PROBABILITIES)[0]

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (B, D) of photos (B, 3, S, S)."""
        return self._run(pixels, FEATURES)[0]

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (B, H, V) and features (B, D) of photos (B, 3, S, S)."""
        probabilities, features = self._run(pixels, PROBABILITIES, FEATURES)
        return probabilities, features

    def _run(self, pixels: NDArray[np.uint8], *outputs: str) -> list[NDArray[np.float32]]:
        if FEATURES in outputs:
            _require_features({name for each in self._outputs for name in each.get_names()})
        pieces = np.array_split(pixels, min(len(pixels), len(self._requests)))
        with self._lock:
            working = self._requests[: len(pieces)]
            for request, piece in zip(working, pieces, strict=True):
                request.start_async([piece], share_inputs=True)
            for request in working:
                request.wait()
            return [
                np.concatenate([request.get_tensor(output).data for request in working])
                for output in outputs
            ]


def _require_features(outputs: Set[str]) -> None:
    """Refuse a file that has only probabilities."""
    if FEATURES not in outputs:
        raise ExportError(
            "This export has no features: an earlier version of Facetry wrote it.",
            hint="Export the model again.",
        )


@cache
def shared_core() -> Any:
    """OpenVINO's `Core`: one for the process, which is never freed.

    Its CPU plugin installs an alternate signal stack for the thread that creates the Core, and frees it
    with the Core. If Cores are freed in another order or thread than they were created in, the next
    Ctrl-C or SIGTERM crashes the process (seen with OpenVINO 2026.4).
    """
    return package("openvino").Core()


def _require_precision(core: Any, precision: Precision) -> None:
    """Raise an error for half precision on a CPU that would silently use single precision."""
    needed = _CAPABILITIES.get(precision)
    if needed and needed not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise EngineError(f"This CPU does not compute in {precision}.", hint="Use --dtype fp32.")
