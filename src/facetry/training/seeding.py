"""Torch's generators, seeded by a place in the work: what is drawn there needs no memory of before."""

import numpy as np
import torch


def seed_torch(*place: int) -> None:
    """Seed the generators of CPU and GPUs by numbers of 0 or more, such as (seed, epoch, step).

    >>> seed_torch(0, 3, 7)
    >>> first = torch.rand(2)
    >>> seed_torch(0, 3, 7)
    >>> torch.equal(torch.rand(2), first)
    True
    """
    torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0]))
