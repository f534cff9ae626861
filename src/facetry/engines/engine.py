"""What an engine is: whatever computes a classifier's graph.

Shapes: B photos, S side in pixels, H heads of all categories, V values of the head that has most.
"""

import os
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Runtime = Literal["openvino", "onnx"]
"""Which runtime a file is for; `onnx` is the file's format, which ONNX Runtime reads."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""In which numbers matrix products are computed. `int8` comes with the file."""


class Engine(Protocol):
    """Probabilities of all heads of all categories, computed from photos.

    It may be called from several threads, and lets other threads run while it computes.
    """

    @property
    def description(self) -> str:
        """Runtime, version, precision and threads: `OpenVINO 2026.4.1, fp32, 2 threads`."""
        ...

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V), 0 in padding, of photos (B, 3, S, S), at least one."""
        ...


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
