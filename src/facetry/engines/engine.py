"""The protocol of engines, which compute a model's graph, and their configuration.

Objects of the engines' packages are typed as `Any`, as none of them has complete types.

Shapes: B photos, S side in pixels, D features, H heads of all categories, V values of the head with
most.
"""

import importlib
import os
import sys
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from facetry.runtime.config import Config
from facetry.runtime.extras import require


def package(name: str) -> Any:
    """Import an optional package, with its telemetry disabled.

    Raises:
        MissingExtra: it is not installed.
    """
    require(f"The package {name}", name)
    # openvino and nncf send usage statistics unless this package cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module(name)


Runtime = Literal["openvino", "onnx"]
"""The runtime that a file is for; `onnx` is the format that ONNX Runtime reads."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""The precision of matrix products. `int8` is a property of the file."""


class Engine(Protocol):
    """Computes the probabilities of all heads of all categories from photos.

    It is thread-safe, and releases the GIL while it computes.
    """

    @property
    def description(self) -> str:
        """Runtime, version, precision and threads: `OpenVINO 2026.4.1, fp32, 2 threads`."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V), 0 in padding, of photos (B, 3, S, S), at least one."""
        ...

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (B, D) of photos (B, 3, S, S), at least one: what the heads read.

        Raises:
            ExportError: a file that an earlier version wrote, without features.
        """
        ...

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities and features of photos, computed once.

        Raises:
            ExportError: as for `embed`.
        """
        ...


def precision_of(engine: Engine) -> Precision:
    """The precision that an engine computes in, as its description says; fp32 if it says none."""
    words = engine.description.replace(",", "").split()
    found: Precision = next((each for each in get_args(Precision) if each in words), "fp32")
    return found


PHOTOS = "photos"
"""The name of a graph's input in a file."""

PROBABILITIES = "probabilities"
"""The name of the output with the probabilities."""

FEATURES = "features"
"""The name of the output with the features."""


def num_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_text(num_threads: int) -> str:
    """A number of threads in words.

    >>> threads_text(1)
    '1 thread'
    """
    return f"{num_threads} thread" if num_threads == 1 else f"{num_threads} threads"


EngineName = Literal["torch", "openvino", "onnxruntime"]


class EngineConfig(Config):
    """How a model's graph is computed: this affects speed and, apart from rounding, no answer.

    >>> EngineConfig(name="openvino").precision
    'auto'
    """

    name: EngineName | Literal["auto"] = "auto"
    """The runtime; for `auto` see `choose.choose`."""

    precision: Precision | Literal["auto"] = "auto"
    """The precision of matrix products. `auto` is that of the available export, preferably fp32; with
    torch it is bf16 on a GPU that supports it, else fp32."""

    num_threads: PositiveInt | None = None
    """Threads that compute one batch on the CPU; None: as many as there are cores."""

    compile: bool = False
    """With torch: compile the graph on first use, which takes minutes for a large model."""

    cuda_graphs: bool = True
    """With torch on a GPU: record a batch's kernels in a CUDA graph, and replay it from then on."""
