"""The engine that runs a graph with ONNX Runtime.

Shapes: B photos, S side in pixels, H heads of all categories, V values.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.engines.engine import Precision, num_cores, threads_text
from facetry.engines.packages import package
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

        The precision, fp32 or int8, is the file's own. Without `num_threads` all cores work.

        Raises:
            EngineError: another precision.
            ExportError: a file that ONNX Runtime cannot read.
            MissingExtra: onnxruntime is not installed.
        """
        if precision not in {"fp32", "int8"}:
            raise EngineError(
                f"ONNX Runtime does not compute in {precision} on a CPU.", hint="Use --precision fp32."
            )
        onnxruntime = package("onnxruntime")
        num_threads = num_threads or num_cores()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # A thread that waits must not keep a core from the decoders.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(
                str(source), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its kinds are named nowhere
            raise ExportError(
                f"ONNX Runtime cannot read {source}: {error}", hint="Export the model again."
            ) from error
        name = f"ONNX Runtime {onnxruntime.__version__}, {precision}, {threads_text(num_threads)}"
        return cls(session, name)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V) of photos (B, 3, S, S)."""
        result: NDArray[np.float32] = self._session.run(None, {self._input: pixels})[0]
        return result
