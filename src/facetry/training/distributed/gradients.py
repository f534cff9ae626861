"""What processes exchange in each step: gradients, and the running statistics of batch norms.

Gradients are exchanged after the backward pass, by `add_up_gradients`. torch's DistributedDataParallel
does so during it, which hides some of the time; but one process whose memory runs out in the middle
then leaves the others waiting for ever. Here all learn of it first and begin the step again together,
and a head that no process's products use has no gradient, as in a single process.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from facetry.training.distributed.processes import Processes
from facetry.training.distributed.sharding import is_sharded

_BUCKET_NUMBERS = 8 * 2**20  # at once: enough to be fast, few enough to copy


def make_equal(processes: Processes, model: nn.Module) -> None:
    """Copy the main process's weights and buffers to all others."""
    if processes.num > 1:
        for each in model.state_dict().values():
            torch.distributed.broadcast(each, src=0)


def add_up_gradients(processes: Processes, model: nn.Module) -> None:
    """Sum every gradient over all processes; FSDP has already summed those of sharded weights."""
    if processes.num == 1:
        return
    parameters = [each for each in model.parameters() if each.requires_grad and not is_sharded(each)]
    are_used = processes.all_reduce_any(*(each.grad is not None for each in parameters))
    used = [each for each, is_used in zip(parameters, are_used, strict=True) if is_used]
    for each in used:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    _add_up([each.grad for each in used if each.grad is not None])


def average_statistics(processes: Processes, model: nn.Module) -> None:
    """Average the running statistics of batch norms over all processes."""
    if processes.num == 1:
        return
    statistics = [
        each
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training  # noqa: SLF001
        for each in (module.running_mean, module.running_var)
        if each is not None
    ]
    _add_up(statistics)
    for each in statistics:
        each.div_(processes.num)


@torch.no_grad()
def _add_up(tensors: Sequence[Tensor]) -> None:
    """Sum each tensor over all processes, in place."""
    for bucket in _buckets(tensors):
        flat = torch.cat([each.flatten() for each in bucket])
        torch.distributed.all_reduce(flat)
        parts = flat.split([each.numel() for each in bucket])
        for each, part in zip(bucket, parts, strict=True):
            each.copy_(part.view(each.shape))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors, in order, into lists of one dtype and a limited size."""
    bucket: list[Tensor] = []
    for each in tensors:
        size = sum(other.numel() for other in bucket)
        if bucket and (size + each.numel() > _BUCKET_NUMBERS or each.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket
