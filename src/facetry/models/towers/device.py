"""The device and the precision in which a model computes."""

import time
from functools import cache

import torch

from facetry.errors import first_line


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of matrix products for a recipe's `precision` on a device."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if has_bf16 else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def computing(precision: str, device: torch.device) -> torch.autocast:
    """A context of mixed precision, which does nothing if the precision is fp32."""
    dtype = compute_dtype(precision, device)
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def compile_failure(error: Exception) -> str:
    """Why torch could not compile a model: the first line of what its compiler raised."""
    return first_line(getattr(error, "inner_exception", error))[:200]


def slow_precision(precision: str, device: torch.device) -> str:
    """A warning with measured rates if a CPU is slow in this half precision, else "".

    A CPU without instructions for it emulates them, up to fifty times slower than fp32.
    """
    dtype = compute_dtype(precision, device)
    if device.type != "cpu" or dtype == torch.float32:
        return ""
    own, single = matmul_rate(dtype), matmul_rate(torch.float32)
    if own > single * _SLOW:
        return ""
    return (
        f"A thread of this CPU multiplies matrices at {own:.1f} GFLOP/s in {precision} and at "
        f"{single:.1f} in fp32: {precision} takes {single / own:.0f} times as long here."
    )


@cache
def matmul_rate(dtype: torch.dtype) -> float:
    """The best rate of matrix products of one CPU thread in GFLOP/s, measured in a fraction of a second.

    One thread, since several would wait for each other while other work runs on the CPU.
    """
    one = torch.ones(_SIDE, _SIDE, dtype=dtype)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times: list[float] = []
    while len(times) < 3 or sum(times) < _MEASURED_S:  # the first one also chooses the kernel
        start = time.perf_counter()
        torch.mm(one, one)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(num_threads)
    return 2 * _SIDE**3 / min(times) / 1e9


_SIDE = 192
_MEASURED_S = 0.03  # long enough for many fast products: other work may delay some of them
_SLOW = 0.5  # share of the fp32 rate; a CPU with the instructions is faster than in fp32
