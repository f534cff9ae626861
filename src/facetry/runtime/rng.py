"""Random numbers that depend on what they are for, not on when they are drawn.

Shapes: B products, K numbers for each.
"""

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

# SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
GOLDEN_GAMMA: Final = 0x9E3779B97F4A7C15
MULTIPLIERS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
MASK: Final = 2**64 - 1


def counter_uniforms(
    indices: NDArray[np.integer], *, seed: int, epoch: int, purpose: str, count: int
) -> NDArray[np.float64]:
    """Numbers (B, K) in [0, 1): row b depends on its index, the seed, the epoch and the purpose.

    A counter-based generator: the numbers are a hash of these, so that a product gets the same numbers
    in any batch and order, after a resumed run and on any number of processes.

    >>> both, one = (counter_uniforms(np.array(each), seed=1, epoch=0, purpose="flip", count=1)
    ...              for each in ([5, 7], [7]))
    >>> bool(both[1] == one[0])
    True
    """
    state = np.zeros((1, 1), dtype=np.uint64)
    for part in (seed & MASK, epoch, zlib.crc32(purpose.encode())):
        state = _mix(state ^ np.uint64(part))
    rows = _mix(state ^ indices.astype(np.uint64)[:, None])  # (B, 1)
    columns = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_GAMMA)  # (K,)
    return (_mix(rows + columns) >> np.uint64(11)).astype(np.float64) * 2.0**-53  # (B, K)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit of each number over the whole of it."""
    state = state + np.uint64(GOLDEN_GAMMA)
    for shift, multiplier in MULTIPLIERS:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(multiplier)
    return state ^ (state >> np.uint64(31))
