"""Trees of tokens through the network, with a memory of what was read before.

Shapes: R rows, N tokens of the longest tree, L tokens in memory, D width, E edges, S side in pixels.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from facetry.predictors.vlm.prompts import Tree
from facetry.predictors.vlm.qwen import Qwen

_NUM_CONTEXTS = 512  # contexts whose logits, one for each token there is, are in memory at once

Edge = tuple[int, int, int]
"""A row, a place in its tree, and a token that may follow there."""


class Reading:
    """A text that is being read, in R rows; it begins as one empty row.

    What is read is kept as the network's keys and values, so that nothing is read twice.
    """

    def __init__(self, qwen: Qwen) -> None:
        from transformers import DynamicCache

        self.qwen = qwen
        self._memory = DynamicCache()
        self._seen = torch.zeros(1, 0, dtype=torch.bool)  # R L
        self._starts = [0]

    def repeat(self, times: int) -> None:
        """Make each row into so many, one after the other."""
        self._memory.batch_repeat_interleave(times)
        self._seen = self._seen.repeat_interleave(times, dim=0)
        self._starts = [start for start in self._starts for _ in range(times)]

    def read(
        self, trees: Sequence[Tree], ends: Sequence[int], photos: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Read one tree in each row; returns what the network makes of its tokens (R, N, D).

        The text goes on after the token at each tree's end: what is not on the way to it is not seen
        by what is read later.
        """
        before = self._seen[:, None].expand(-1, max(map(len, trees)), -1)  # R N L
        hidden = _forward(
            self.qwen, trees, before, starts=self._starts, photos=photos, memory=self._memory
        )
        kept = torch.zeros(len(trees), hidden.shape[1], dtype=torch.bool)
        for row, (tree, end) in enumerate(zip(trees, ends, strict=True)):
            kept[row, tree.path(end)] = True
            self._starts[row] += tree.next_position(end)
        self._seen = torch.cat([self._seen, kept], dim=1)
        return hidden


def read_once(qwen: Qwen, trees: Sequence[Tree], photos: Mapping[str, Tensor]) -> Tensor:
    """What the network makes of whole texts' tokens (R, N, D), nothing kept; gradients flow."""
    before = torch.zeros(len(trees), max(map(len, trees)), 0, dtype=torch.bool)
    return _forward(qwen, trees, before, starts=[0] * len(trees), photos=photos)


def log_probabilities(qwen: Qwen, hidden: Tensor, edges: Sequence[Edge]) -> Tensor:
    """The log-probability of each edge's token (E), given what was read up to its place."""
    rows, tokens = torch.tensor([edge[:2] for edge in edges]), torch.tensor([edge[2] for edge in edges])
    contexts, owners = rows.unique(dim=0, return_inverse=True)
    found = torch.empty(len(edges), device=qwen.device)
    for first in range(0, len(contexts), _NUM_CONTEXTS):
        part = contexts[first : first + _NUM_CONTEXTS].to(qwen.device)
        logits = qwen.network.lm_head(hidden[part[:, 0], part[:, 1]])
        places = torch.nonzero((owners >= first) & (owners < first + _NUM_CONTEXTS))[:, 0]
        shares = logits.float().log_softmax(dim=-1)
        chosen = shares[(owners[places] - first).to(qwen.device), tokens[places].to(qwen.device)]
        found = found.index_put((places.to(qwen.device),), chosen)
    return found


def _forward(
    qwen: Qwen,
    trees: Sequence[Tree],
    before: Tensor,
    *,
    starts: Sequence[int],
    photos: Mapping[str, Tensor] | None,
    memory: object = None,
) -> Tensor:
    num_rows, longest = before.shape[:2]
    tokens = torch.zeros(num_rows, longest, dtype=torch.long)
    positions = torch.zeros(3, num_rows, longest, dtype=torch.long)
    sees = torch.eye(longest, dtype=torch.bool).repeat(num_rows, 1, 1)  # padding sees itself: no NaN
    for row, tree in enumerate(trees):
        if len(tree):
            tokens[row, : len(tree)] = torch.tensor(tree.tokens)
            positions[:, row, : len(tree)] = torch.tensor(tree.positions).T + starts[row]
            sees[row, : len(tree), : len(tree)] = torch.from_numpy(tree.ancestors())
    network = qwen.network
    output = network.model(
        input_ids=tokens.to(qwen.device),
        position_ids=positions.to(qwen.device),
        attention_mask=_as_mask(torch.cat([before, sees], dim=2), network.dtype, qwen.device),
        past_key_values=memory,
        use_cache=memory is not None,
        **(photos or {}),
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def _as_mask(sees: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """What is added to the attention's logits (R, 1, N, L + N): 0, or as good as minus infinity."""
    mask = torch.zeros(sees.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~sees.to(device), torch.finfo(dtype).min)[:, None]


def chain(tokens: Sequence[int]) -> tuple[Tree, int]:
    """A tree of one text, and its end."""
    tree = Tree()
    return tree, tree.add(tokens)
