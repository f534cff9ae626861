"""Answers that can only be allowed values: by weighing every one, or by writing one of them.

Both go over the tokens of the allowed values, and only over those.

Shapes: R rows, V values.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.vlm.prompts import Tokens
from facetry.vlm.reading import Edge, Reading, chain, log_probabilities
from facetry.vlm.tree import Tree

Shares = NDArray[np.float64]

Answer = Callable[
    [Reading, Sequence[Tokens], Sequence[Sequence[Tokens]]], tuple[list[Shares], list[Tokens]]
]
"""Reads each row's question and answers it with one of its values.

Returns for each row the values' probabilities (V), and what of the answer is not read yet.
"""


def score(
    reading: Reading, questions: Sequence[Tokens], values: Sequence[Sequence[Tokens]]
) -> tuple[list[Shares], list[Tokens]]:
    """Weigh all values in one pass: each one's likelihood, as a share of that of all.

    A value's likelihood is the product of its tokens', its end included, which is the probability that
    the model writes it; so the shares are those of the model's answers that are allowed. It is not
    divided by the length, which would favour long values.
    """
    trees, ends, leaves = [], [], []
    for question, allowed in zip(questions, values, strict=True):
        tree, end = chain(question)
        leaves.append([tree.add(value, end) for value in allowed])
        trees.append(tree)
        ends.append(end)
    hidden = reading.read(trees, ends)
    edges = [
        (row, tree.parents[place], tree.tokens[place])
        for row, (tree, end) in enumerate(zip(trees, ends, strict=True))
        for place in range(end + 1, len(tree))
    ]
    found = log_probabilities(reading.qwen, hidden, edges).double().cpu().numpy()
    shares, used = [], 0
    for tree, end, tips in zip(trees, ends, leaves, strict=True):
        totals = _totals(tree, end, found[used:])
        used += len(tree) - end - 1
        shares.append(_softmax(totals[tips]))
    return shares, [allowed[int(each.argmax())] for allowed, each in zip(values, shares, strict=True)]


def constrained(
    reading: Reading, questions: Sequence[Tokens], values: Sequence[Sequence[Tokens]]
) -> tuple[list[Shares], list[Tokens]]:
    """Write an answer token by token, each the likeliest of those that lead to an allowed value.

    Values that part from the answer at some token share what that token's rivals got.
    """
    walks = [_Walk(allowed) for allowed in values]
    unread = [(*question, *walk.go_on()) for question, walk in zip(questions, walks, strict=True)]
    while any(len(walk.alive) > 1 for walk in walks):
        # A row that is done waits with its unread tokens; an empty tree takes its place.
        chains = [
            chain(tokens if len(walk.alive) > 1 else ())
            for tokens, walk in zip(unread, walks, strict=True)
        ]
        hidden = reading.read([tree for tree, _ in chains], [end for _, end in chains])
        edges: list[Edge] = [
            (row, end, token)
            for row, ((_, end), walk) in enumerate(zip(chains, walks, strict=True))
            for token in walk.options()
        ]
        found = np.exp(log_probabilities(reading.qwen, hidden, edges).double().cpu().numpy())
        for row, walk in enumerate(walks):
            if options := walk.options():
                walk.choose(found[: len(options)])
                found = found[len(options) :]
                unread[row] = walk.go_on()
    return [walk.finished() for walk in walks], unread


ANSWERS: Final[Mapping[str, Answer]] = {"score": score, "constrained": constrained}


class _Walk:
    """The way of one answer through the tokens of the allowed values.

    `alive` are the values that begin with what is written.
    """

    def __init__(self, values: Sequence[Tokens]) -> None:
        self.values = values
        self.alive = list(range(len(values)))
        self.shares = np.full(len(values), 1 / len(values))
        self._depth = 0

    def options(self) -> list[int]:
        """The tokens to choose from; none once the answer is known."""
        if len(self.alive) == 1:
            return []
        return list(dict.fromkeys(self.values[each][self._depth] for each in self.alive))

    def choose(self, weights: Shares) -> None:
        """Share out what the values had that are alive, and keep those of the heaviest token."""
        options, mass = self.options(), self.shares[self.alive].sum()
        total = weights.sum()
        parts = weights / total if total > 0 else np.full(len(options), 1 / len(options))
        groups = [
            [each for each in self.alive if self.values[each][self._depth] == token] for token in options
        ]
        for group, part in zip(groups, parts, strict=True):
            self.shares[group] = mass * part / len(group)
        self.alive = groups[int(parts.argmax())]

    def go_on(self) -> Tokens:
        """Write what all values have in common that are alive; returns it."""
        start, first = self._depth, self.values[self.alive[0]]
        while (
            self._depth < len(first)
            and len({self.values[each][self._depth] for each in self.alive}) == 1
        ):
            self._depth += 1
        return first[start : self._depth]

    def finished(self) -> Shares:
        """The values' probabilities; the answer has the largest, however many share the rest."""
        (answer,) = self.alive
        own = self.shares[answer]
        shares = np.minimum(self.shares, 0.999 * own)
        shares[answer] = own
        return _normalised(shares)


def _totals(tree: Tree, end: int, found: Shares) -> Shares:
    """The summed log-probability on the way from the question's end to each token."""
    totals = np.zeros(len(tree))
    for place in range(end + 1, len(tree)):
        parent = tree.parents[place]
        totals[place] = found[place - end - 1] + (totals[parent] if parent != end else 0.0)
    return totals


def _softmax(logits: Shares) -> Shares:
    return _normalised(np.exp(logits - logits.max()))


def _normalised(weights: Shares) -> Shares:
    shares: Shares = weights / weights.sum()
    return shares
