"""Tokens in a tree: what several texts begin with is in it, and is read, once.

A token sees its ancestors and itself alone. So one reading of a tree gives each token exactly what it
would get if its own text were read by itself, from the root to it.

Shapes: N tokens.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROOT: Final = -1

Position = tuple[int, int, int]
"""Time, row and column: Qwen-VL tells tokens of a photo apart by all three (M-RoPE)."""


class Tree:
    """Tokens, each after its parent; a parent stands before its children.

    >>> tree = Tree()
    >>> tree.add([5, 6]), tree.add([5, 7])
    (1, 2)
    >>> tree.tokens, tree.parents
    ([5, 6, 7], [-1, 0, 0])
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.positions: list[Position] = []
        self.num_images = 0
        self._children: dict[tuple[int, int], int] = {}
        self._nexts: list[int] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, tokens: Sequence[int], after: int = ROOT) -> int:
        """Add a text's tokens after a token; those that are there already are shared.

        Returns the last one's place.
        """
        for token in tokens:
            found = self._children.get((after, token))
            if found is None:
                start = self.next_position(after)
                found = self._append(token, after, (start, start, start), start + 1)
            after = found
        return after

    def add_image(self, token: int, side: int, after: int) -> int:
        """Add a square photo of `side` x `side` tokens; returns the last one's place."""
        start = self.next_position(after)
        for place in range(side * side):
            row, column = divmod(place, side)
            # Text goes on after the photo's side, not after the number of its tokens.
            after = self._append(token, after, (start, start + row, start + column), start + side)
        self.num_images += 1
        return after

    def next_position(self, after: int) -> int:
        """The position of text after a token."""
        return 0 if after == ROOT else self._nexts[after]

    def path(self, end: int) -> list[int]:
        """The places from the root to a token, both included."""
        places = []
        while end != ROOT:
            places.append(end)
            end = self.parents[end]
        return places[::-1]

    def ancestors(self) -> NDArray[np.bool_]:
        """Whom each token sees (N, N): its ancestors and itself."""
        sees = np.eye(len(self), dtype=bool)
        for place, parent in enumerate(self.parents):
            if parent != ROOT:
                sees[place] |= sees[parent]
        return sees

    def _append(self, token: int, parent: int, position: Position, after: int) -> int:
        place = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.positions.append(position)
        self._nexts.append(after)
        self._children[parent, token] = place
        return place
