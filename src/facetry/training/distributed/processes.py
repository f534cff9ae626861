"""The processes that train together, one for each device.

    torchrun --nproc-per-node 4 -m facetry train RECIPE --catalogue C --out OUT

or `accelerate launch` starts them all with the same command. The first is the main one: it alone
reads, decides, writes and reports. The others wait until it sends them a training (`broadcast`,
`receive`), and then train with it.

Shapes: N rows, B rows of a batch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facetry.errors import SettingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TIMEOUT = timedelta(days=7)  # how long the others wait while the main process reads and embeds


@dataclass(frozen=True, eq=False)
class Processes:
    """`num` processes, of which this one has a `rank` and a `device`.

    With `is_sharded` a backbone's weights are sharded over them, see `training.distributed.sharding`.
    """

    rank: int = 0
    num: int = 1
    device: "torch.device | None" = None
    is_sharded: bool = False

    @property
    def is_main(self) -> bool:
        """Whether this is the one that decides and writes."""
        return self.rank == 0

    def shard(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """The rows of a batch for this process, and how many of them are its own.

        All processes get equally many; where rows are missing, the batch's first ones fill up.

        >>> [Processes(rank, 2).shard(np.array([5, 6, 7])) for rank in range(2)]
        [(array([5, 7]), 2), (array([6, 5]), 1)]
        """
        own = rows[self.rank :: self.num]
        missing = -(-len(rows) // self.num) - len(own)
        return np.concatenate([own, rows[:missing]]), len(own)

    def all_reduce(self, tensor: "Tensor") -> "Tensor":
        """The sum of all processes' tensors."""
        if self.num == 1:
            return tensor
        import torch

        summed = tensor.clone()
        torch.distributed.all_reduce(summed)
        return summed

    def all_reduce_any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.num == 1:
            return list(flags)
        import torch

        counts = torch.tensor(flags, dtype=torch.int64, device=self.device)
        return [bool(count) for count in self.all_reduce(counts).tolist()]

    def broadcast(self, *request: object) -> None:
        """Send `request` to the other processes, if there are any; they wait for it in `receive`."""
        if self.num > 1:
            from torch.distributed import broadcast_object_list

            broadcast_object_list([request], group=_waiting_group(), device=_cpu())

    def receive(self) -> tuple[Any, ...]:
        """Wait for a request of the main process; an empty one ends the work."""
        from torch.distributed import broadcast_object_list

        received: list[Any] = [None]
        broadcast_object_list(received, group=_waiting_group(), device=_cpu())
        request: tuple[Any, ...] = received[0]
        return request


SINGLE_PROCESS = Processes()
_joined: list[Processes] = []
_groups: list[Any] = []


def world_size() -> int:
    """How many processes a launcher has started with this command; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def current_processes() -> Processes:
    """The processes in the current `process_group`; a single one outside of it."""
    return _joined[-1] if _joined else SINGLE_PROCESS


@contextmanager
def process_group(*, is_sharded: bool = False) -> Iterator[Processes]:
    """Join with the other processes that the launcher has started, while the context lasts.

    When the main process is done it sends the others an empty request, which ends them. If it fails,
    the launcher ends them. `accelerate launch --use_fsdp` sets `is_sharded`, too.

    Raises:
        SettingError: `is_sharded` with a single process.
    """
    is_sharded = is_sharded or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"
    if world_size() == 1:
        if is_sharded:
            raise SettingError(
                "Weights are to be spread over several processes, and there is only this one.",
                hint="Leave out --shard, or start it with torchrun --nproc-per-node N -m facetry train.",
            )
        yield SINGLE_PROCESS
        return
    processes = _start(is_sharded=is_sharded)
    _joined.append(processes)
    try:
        yield processes
        if processes.is_main:
            processes.broadcast()
    finally:
        _joined.pop()
        _end()


def _start(*, is_sharded: bool) -> Processes:
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_TIMEOUT)
    _groups.append(torch.distributed.new_group(backend="gloo", timeout=_TIMEOUT))
    return Processes(state.process_index, state.num_processes, state.device, is_sharded)


def _end() -> None:
    import torch
    from accelerate import PartialState

    _groups.pop()
    torch.distributed.destroy_process_group()
    PartialState._reset_state()  # noqa: SLF001 - else it thinks it still runs


def _waiting_group() -> Any:
    return _groups[-1]


def _cpu() -> "torch.device":
    import torch

    return torch.device("cpu")
