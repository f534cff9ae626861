"""What computes a model's graph: which engine, in which numbers, on how many threads."""

from typing import Literal

from pydantic import PositiveInt

from facetry.config import Config
from facetry.engines.engine import Precision

EngineName = Literal["torch", "openvino", "onnxruntime"]


class EngineConfig(Config):
    """How a model's graph is to be computed: this changes the speed and, within rounding, no answer.

    >>> EngineConfig(name="openvino").precision
    'auto'
    """

    name: EngineName | Literal["auto"] = "auto"
    """The runtime; for `auto` see `choose.choose`."""

    precision: Precision | Literal["auto"] = "auto"
    """The numbers of matrix products. `auto` is that of the export which is there, fp32 first; with
    torch it is bf16 on a GPU that has it, else fp32."""

    num_threads: PositiveInt | None = None
    """Threads that compute one batch on the CPU; None takes every core."""

    compile: bool = False
    """With torch: compile the graph when it is first used, which takes minutes for a large one."""

    cuda_graphs: bool = True
    """With torch on a GPU: record a batch's kernels once, and launch them as one from then on."""
