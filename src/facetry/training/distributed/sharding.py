"""A backbone's weights sharded over processes, for towers whose training does not fit one device.

Each process has a shard of every weight, of its gradient and of its optimiser state (FSDP2: torch's
`fully_shard`). A block's weights are whole only while it computes. The layers above the backbone are
small and whole in each process. Checkpoints hold whole weights in any case, so that a training may be
resumed with another number of processes.

torch's modules for it take seconds to import, so they are imported only where weights are sharded.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from facetry.models.classifier.classifier import Classifier
from facetry.models.towers.blocks import tower_blocks


def shard(model: Classifier, device: torch.device, num: int) -> Classifier:
    """A copy with its backbone sharded over `num` processes; the model itself is moved to the CPU.

    The weights must be equal in all processes.

    Raises:
        BackboneError: it is not known what the tower's blocks are.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = init_device_mesh(device.type, (num,))
    sharded = copy.deepcopy(model.cpu())
    backbone = sharded.backbone
    for each in backbone.parameters():
        each.data = each.data.contiguous()  # FSDP does not support channels last
    for block in tower_blocks(backbone.tower).blocks:
        for name in block.modules:
            fully_shard(backbone.tower.get_submodule(name), mesh=mesh)
    backbone.register_forward_hook(lambda _, __, features: features.clone())  # FSDP wants no view
    # Without resharding, weights after a pass are other objects than the optimiser's parameters.
    fully_shard(backbone, mesh=mesh, reshard_after_forward=True)
    for module in backbone.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # else they are averaged
            module.set_gradient_divide_factor(1.0)
    return sharded.to(device)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has only a shard of a tensor."""
    return hasattr(tensor, "full_tensor")


def own_part(tensor: Tensor) -> Tensor:
    """The shard of a tensor that this process has, in the same memory."""
    sharded: Any = tensor
    part: Tensor = sharded.to_local() if is_sharded(tensor) else tensor
    return part


def gather(content: Any, *, is_kept: bool = True) -> Any:
    """Nested containers with sharded tensors replaced by whole ones on the CPU.

    All processes must call it together; with `is_kept` False the tensors are empty, to save memory.
    """
    if isinstance(content, Mapping):
        return {name: gather(each, is_kept=is_kept) for name, each in content.items()}
    if isinstance(content, Tensor) and is_sharded(content):
        full = _whole(content)
        return full.cpu() if is_kept else torch.empty(0)
    return content


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole weights into a model, sharded or not."""
    current = model.state_dict()
    cut = {name: _cut(each, current.get(name)) for name, each in weights.items()}
    model.load_state_dict(cut)


def load_optimiser(optimiser: torch.optim.Optimizer, content: Mapping[str, Any]) -> None:
    """Load an optimiser's state for whole weights, sharded now or not."""
    learned = [each for group in optimiser.param_groups for each in group["params"]]
    state = {
        number: {name: _cut(each, learned[number]) for name, each in memory.items()}
        for number, memory in content["state"].items()
    }
    optimiser.load_state_dict({**content, "state": state})


def load_part(own: Tensor, tensor: Tensor) -> None:
    """Fill a tensor, sharded or not, from a whole one."""
    own_part(own).copy_(own_part(_cut(tensor, own)))


def _cut(tensor: Tensor, like: Tensor | None) -> Tensor:
    """A whole tensor in the memory layout of `like` (fused AdamW needs it), if the shapes agree."""
    if like is None or like.shape != tensor.shape:
        return tensor
    if not is_sharded(like):
        return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    mesh, placements = like.device_mesh, like.placements
    whole = tensor.to(like.device).contiguous()
    return distribute_tensor(whole, mesh, placements, src_data_rank=None)


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Clip the gradients, sharded or not, by their total norm; returns the norm before."""
    learned = [each for each in parameters if each.grad is not None]
    whole = [each for each in learned if not is_sharded(each)]
    if len(whole) == len(learned):
        return nn.utils.clip_grad_norm_(learned, max_norm)
    sharded = [each for each in learned if is_sharded(each)]
    norm: Tensor = torch.linalg.vector_norm(torch.stack([_norm(whole), _norm(sharded)]))
    for kind in (whole, sharded):
        nn.utils.clip_grads_with_norm_(kind, max_norm, norm)
    return norm


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    return _whole(norm)


def _whole(tensor: Any) -> Tensor:
    full: Tensor = tensor.full_tensor() if is_sharded(tensor) else tensor
    return full
