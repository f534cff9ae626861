"""What training a photo takes in operations, and how many the machine does in a second."""

import copy
import math
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from facetry.models.towers.image import Backbone


def operations_per_photo(backbone: Backbone) -> float:
    """Of forward and backward, which takes twice as many; counted without computing anything.

    torch's own count of a backward pass takes convolutions in groups for whole ones.
    """
    return 3 * forward_operations(copy.deepcopy(backbone).train(), backbone.preprocess.size_px)


def forward_operations(module: nn.Module, side_px: int) -> float:
    """Of one photo; counted without computing anything. `module` takes photos (B, 3, S, S)."""
    num_photos = 2
    ghost = copy.deepcopy(module).to("meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ghost(torch.empty(num_photos, 3, side_px, side_px, device="meta"))
    return counter.get_total_flops() / num_photos


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of the best of ten products of two square matrices.

    The first that takes longer than a second is the last: a CPU may have no instructions for `dtype`.
    """
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    best_s = math.inf
    for _ in range(10):
        began = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # waits for the device
        last_s = time.perf_counter() - began
        best_s = min(best_s, last_s)
        if last_s > 1:
            break
    return 2 * side**3 / best_s
