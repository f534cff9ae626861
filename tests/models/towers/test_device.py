"""Where a model computes, and whether that is fast."""

import time

import pytest
import torch

from facetry.models.towers import device
from facetry.models.towers.device import matmul_rate, slow_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "rates", "message"),
    [
        (
            "bf16",
            {torch.bfloat16: 0.8, torch.float32: 44.0},
            "0.8 GFLOP/s in bf16 and at 44.0 in fp32",
        ),
        ("fp16", {torch.float16: 0.5, torch.float32: 100.0}, "fp16 takes 200 times as long here"),
        ("bf16", {torch.bfloat16: 90.0, torch.float32: 44.0}, ""),
        ("fp32", {}, ""),
        ("auto", {}, ""),
    ],
)
def test_a_cpu_that_is_slow_at_half_precision_says_so(
    monkeypatch: pytest.MonkeyPatch, precision: str, rates: dict[torch.dtype, float], message: str
) -> None:
    monkeypatch.setattr(device, "matmul_rate", rates.__getitem__)
    sentence = slow_precision(precision, CPU)
    assert message in sentence
    assert bool(sentence) == bool(message)


def test_a_gpu_is_not_measured() -> None:
    assert slow_precision("fp16", torch.device("cuda")) == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_rate_is_measured_once(dtype: torch.dtype) -> None:
    assert matmul_rate(dtype) > 0
    start = time.perf_counter()
    assert matmul_rate(dtype) > 0
    assert time.perf_counter() - start < 0.1
