"""Batches that become smaller when memory runs out."""

import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class BatchSize:
    """How many products are worked on at once: halved, and kept so, when memory runs out.

    The first time it is said, by a warning.
    """

    def __init__(self, value: int) -> None:
        self.value = value
        self._is_said = False

    def run(self, work: Callable[[int], Result]) -> Result:
        """What `work` returns, which is given the size and started anew with half of it if need be.

        Raises:
            torch.OutOfMemoryError: not even one product fits.
        """
        while True:
            try:
                return work(self.value)
            except torch.OutOfMemoryError:
                if self.value == 1:
                    raise
            self._halve()

    def _halve(self) -> None:
        self.value = self.value // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not self._is_said:
            self._is_said = True
            warnings.warn(
                f"Out of memory: going on with batches of {self.value}, and fewer if need be. "
                "Set batch_size lower to be rid of this.",
                RuntimeWarning,
                stacklevel=3,
            )
