"""A backbone compiled by torch, where that can be done."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from facetry.errors import first_line
from facetry.models.backbones import Backbone
from facetry.models.device import computing
from facetry.training.run import Run


@contextmanager
def compiled(run: Run, backbone: Backbone) -> Iterator[bool]:
    """The backbone is compiled while the context lasts; gives whether it is.

    It is tried on a part of a step. Where that fails it stays as it was, and it is said why.
    The heads are left: which of them a batch needs is decided anew for each.
    """
    try:
        reason = _try(run, backbone)
        if reason:
            backbone._compiled_call_impl = None  # noqa: SLF001 - torch has no other way back
            run.reporter.say(f"The backbone cannot be compiled and runs as it is: {reason}")
        yield not reason
    finally:
        backbone._compiled_call_impl = None  # noqa: SLF001


def _try(run: Run, backbone: Backbone) -> str:
    """Forward and backward once, with no trace left; why that fails, "" if it does not."""
    if run.processes.shards:
        return "its weights are spread over processes."
    side = backbone.preprocess.size_px
    size = max(1, run.share_size // run.config.accumulation)
    photos = torch.zeros(size, 3, side, side, dtype=torch.uint8, device=run.device)
    before = {name: each.clone() for name, each in backbone.named_buffers()}
    try:
        backbone.compile()
        with computing(run.config.precision, run.device):
            features: Tensor = backbone.train()(photos)
        features.float().sum().backward()
    except Exception as error:  # noqa: BLE001 - a compiler has too many kinds of failure
        return first_line(error)[:200]
    finally:
        backbone.zero_grad(set_to_none=True)
        for name, each in backbone.named_buffers():
            each.copy_(before[name])
    return ""
