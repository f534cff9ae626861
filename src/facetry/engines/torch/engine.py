"""The engine that runs a graph with torch: eager or compiled, on the CPU or on a GPU.

Shapes: B photos, D features, N photos of a padded batch, S side in pixels, H heads of all categories,
V values.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facetry.engines.engine import EngineConfig, threads_text
from facetry.engines.torch.graph import Graph, WithFeatures
from facetry.errors import EngineError
from facetry.models.towers.device import compile_failure, compute_dtype, slow_precision
from facetry.runtime.progress import SILENT, Reporter

Outputs = tuple[Tensor, Tensor]
"""Probabilities (N, H, V) and features (N, D)."""

Forward = Callable[[Tensor], Outputs]
"""Photos (N, 3, S, S) to outputs, both on the graph's device."""

_SMALLEST = 8
"""The smallest fixed batch size."""


class TorchEngine:
    """A graph on the device where it is; see `engine.Engine`.

    The graph is modified: in half precision the weights of its tower are converted once, which is faster
    than autocast's conversion in every batch. Heads and batch norms remain in fp32. If a batch does not
    fit in the GPU's memory, it and all later ones are computed in smaller parts.

    For a compiled graph or CUDA graphs, batches are padded to the next power of two, so that few shapes
    occur. If a graph cannot be compiled it runs eagerly, and the reason is reported. `require_precision`
    checks what a device supports.
    """

    def __init__(self, graph: Graph, config: EngineConfig, reporter: Reporter = SILENT) -> None:
        self.device = next(graph.parameters()).device
        self.dtype = compute_dtype(config.precision, self.device)
        self._graph: nn.Module = WithFeatures(graph).eval()
        self._reporter = reporter
        self._lock = threading.Lock()
        self._most: int | None = None  # photos that fit in memory at once, if known
        self._staged: dict[int, Tensor] = {}  # buffers for photos, by batch size
        self._recorded: dict[int, _Recorded] = {}
        self._records = config.cuda_graphs and self.device.type == "cuda"
        if config.num_threads:
            torch.set_num_threads(config.num_threads)
        _convert_tower(graph.backbone.tower, self.dtype)
        if config.compile or self.device.type == "cuda":
            # Otherwise attention is one opaque operator, which cannot be compiled or fused.
            torch.backends.mha.set_fastpath_enabled(False)
        self._compiled: Forward | None = None
        if config.compile:
            with self._compiling():
                self._compiled = torch.compile(self._graph, dynamic=False)

    @property
    def description(self) -> str:
        """Version, precision, mode and device."""
        names = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        parts = [f"torch {torch.__version__.partition('+')[0]}", names[self.dtype]]
        parts += ["compiled"] if self._compiled is not None else []
        if self.device.type == "cuda":
            parts += ["CUDA graphs"] if self._records else []
            return ", ".join([*parts, torch.cuda.get_device_name(self.device)])
        return ", ".join([*parts, threads_text(torch.get_num_threads())])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (B, H, V) of photos (B, 3, S, S)."""
        return self._run(pixels, 0)[0]

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (B, D) of photos (B, 3, S, S)."""
        return self._run(pixels, 1)[0]

    def predict_and_embed(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities (B, H, V) and features (B, D) of photos (B, 3, S, S)."""
        probabilities, features = self._run(pixels, 0, 1)
        return probabilities, features

    def _run(self, pixels: NDArray[np.uint8], *outputs: int) -> list[NDArray[np.float32]]:
        """Some of the outputs, by their index in `Outputs`: only these are copied from the device."""
        with self._lock, torch.no_grad():
            while True:
                try:
                    parts = [self._compute(part, outputs) for part in self._parts(pixels)]
                    return [np.concatenate(each) for each in zip(*parts, strict=True)]
                except torch.OutOfMemoryError:
                    self._shrink_batches(len(pixels))

    def _parts(self, pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        most = self._most or len(pixels)
        return (pixels[start : start + most] for start in range(0, len(pixels), most))

    def _shrink_batches(self, num_photos: int) -> None:
        """Compute half as many photos at once from now on; frees the buffers of larger batches."""
        tried = min(num_photos, self._most or num_photos)
        if tried == 1:
            raise EngineError(
                "The device has no memory for a single photo.",
                hint="End other programs that use it, or compute on the CPU.",
            )
        self._most = (tried + 1) // 2
        self._recorded.clear()
        self._staged.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _compute(self, pixels: NDArray[np.uint8], outputs: Sequence[int]) -> list[NDArray[np.float32]]:
        photos = self._stage(pixels)
        results = self._record(photos)(photos) if self._records else self._forward(photos)
        return [results[each][: len(pixels)].float().cpu().numpy() for each in outputs]

    def _stage(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Copy the photos to the device (N, 3, S, S); padding is left from previous batches."""
        is_cuda, is_fixed = self.device.type == "cuda", self._records or self._compiled is not None
        if not is_cuda and not is_fixed:
            return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        size = self._fixed_size(len(pixels)) if is_fixed else len(pixels)
        if size not in self._staged:
            # The GPU reads pinned memory directly, while this thread continues to launch kernels.
            self._staged[size] = torch.zeros(
                size, *pixels.shape[1:], dtype=torch.uint8, pin_memory=is_cuda
            )
        staged = self._staged[size]
        staged.numpy()[: len(pixels)] = pixels
        return staged.to(self.device, non_blocking=True)

    def _fixed_size(self, num_photos: int) -> int:
        """The size that a batch is padded to."""
        size = max(_SMALLEST, 1 << (num_photos - 1).bit_length())
        return min(size, self._most) if self._most else size

    def _forward(self, photos: Tensor) -> Outputs:
        """Run the compiled graph or, without one, the graph itself."""
        if self._compiled is not None:
            with self._compiling():
                return self._compiled(photos)
        outputs: Outputs = self._graph(photos)
        return outputs

    @contextmanager
    def _compiling(self) -> Iterator[None]:
        """If the body fails, give up compiling for good and report why."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a compiler has too many kinds of failure
            self._compiled = None
            reason = compile_failure(error)
            self._reporter.say(f"The graph cannot be compiled and runs as it is: {reason}")

    def _record(self, photos: Tensor) -> "_Recorded":
        """The CUDA graph for batches of this size (N, 3, S, S), recorded on first use."""
        size = len(photos)
        if size not in self._recorded:
            # Batches are computed one at a time, so all recordings can share their memory.
            pool = next((each.pool for each in self._recorded.values()), None)
            self._recorded[size] = _Recorded(self._forward, photos, pool)
        return self._recorded[size]


class _Recorded:
    """A CUDA graph for one batch size, which reads and writes the same memory each time."""

    def __init__(self, forward: Forward, photos: Tensor, pool: Any) -> None:
        self._photos = photos.clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries select kernels and allocate memory before recording
                forward(self._photos)
        torch.cuda.current_stream().wait_stream(stream)
        self._kernels = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._kernels, pool=pool):
            self._result = forward(self._photos)
        self.pool = self._kernels.pool()

    def __call__(self, photos: Tensor) -> Outputs:
        """Outputs, which the next call overwrites."""
        self._photos.copy_(photos)
        self._kernels.replay()
        return self._result


def require_precision(config: EngineConfig, device: torch.device) -> None:
    """Check that the device has native arithmetic of the configured precision.

    Raises:
        EngineError: it has not, or the precision is int8, which torch does not support here.
    """
    if config.precision == "int8":
        raise EngineError(
            "The torch engine does not compute in int8.",
            hint="Export the model with `facetry export --int8`, and leave out --engine torch.",
        )
    if config.precision != "auto" and not _has(compute_dtype(config.precision, device), device):
        what = "GPU" if device.type == "cuda" else "CPU"
        raise EngineError(
            f"This {what} has no {config.precision} arithmetic. "
            f"{slow_precision(config.precision, device)}".rstrip(),
            hint="Leave out --dtype, or ask for fp32.",
        )


def _has(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device multiplies matrices of this type natively."""
    if dtype == torch.float32:
        return True
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype == torch.float16:
        return torch.cpu._is_amx_fp16_supported()  # noqa: SLF001 - torch 2.11 has no public name for it
    return torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001


def _convert_tower(tower: nn.Module, dtype: torch.dtype) -> None:
    """Make a tower compute in `dtype`, with inputs and outputs in single precision.

    Batch norms remain in single precision: their statistics need it, and torch requires their weights to
    have the same type.
    """
    if dtype == torch.float32:
        return
    for module in tower.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - the base of all
            continue
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    tower.register_forward_pre_hook(lambda _, photos: photos[0].to(dtype))
    tower.register_forward_hook(lambda _, __, features: _single(features))


def _single(features: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    if isinstance(features, tuple):  # CoCa adds its tokens
        return tuple(each.float() for each in features)
    return features.float()
