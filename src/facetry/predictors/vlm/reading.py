"""Runs trees of tokens through the network, with a key-value cache of the text before them.

Shapes: R rows, N tokens of the longest tree, L tokens in the cache, D width, E edges.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from facetry.predictors.vlm.prompts import Tree
from facetry.predictors.vlm.qwen import Qwen

_NUM_CONTEXTS = 512  # contexts whose logits over the whole vocabulary are in memory at once

Edge = tuple[int, int, int]
"""A row, the index of a token in its tree, and a token that may follow it."""


class Reading:
    """The text read so far, in R rows; at first one empty row.

    The network's keys and values are cached, so that nothing is read twice.
    """

    def __init__(self, qwen: Qwen) -> None:
        from transformers import DynamicCache

        self.qwen = qwen
        self._cache = DynamicCache()
        self._visible = torch.zeros(1, 0, dtype=torch.bool)  # R L
        self._starts = [0]

    def repeat(self, times: int) -> None:
        """Replace each row by `times` copies of it."""
        self._cache.batch_repeat_interleave(times)
        self._visible = self._visible.repeat_interleave(times, dim=0)
        self._starts = [start for start in self._starts for _ in range(times)]

    def read(
        self, trees: Sequence[Tree], ends: Sequence[int], photos: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Read one tree in each row; returns the last hidden states of its tokens (R, N, D).

        The text continues after the token `end` of each tree: later tokens attend only to the path from
        the root to it.
        """
        before = self._visible[:, None].expand(-1, max(map(len, trees)), -1)  # R N L
        hidden = _forward(
            self.qwen, trees, before, starts=self._starts, photos=photos, cache=self._cache
        )
        on_path = torch.zeros(len(trees), hidden.shape[1], dtype=torch.bool)
        for row, (tree, end) in enumerate(zip(trees, ends, strict=True)):
            on_path[row, tree.path(end)] = True
            self._starts[row] += tree.next_position(end)
        self._visible = torch.cat([self._visible, on_path], dim=1)
        return hidden


def read_once(qwen: Qwen, trees: Sequence[Tree], photos: Mapping[str, Tensor]) -> Tensor:
    """The last hidden states (R, N, D) of whole trees, without a cache; gradients are computed."""
    before = torch.zeros(len(trees), max(map(len, trees)), 0, dtype=torch.bool)
    return _forward(qwen, trees, before, starts=[0] * len(trees), photos=photos)


def log_probabilities(qwen: Qwen, hidden: Tensor, edges: Sequence[Edge]) -> Tensor:
    """The log-probability of each edge's token (E), given the text that it follows."""
    rows, tokens = torch.tensor([edge[:2] for edge in edges]), torch.tensor([edge[2] for edge in edges])
    contexts, owners = rows.unique(dim=0, return_inverse=True)
    found = torch.empty(len(edges), device=qwen.device)
    for first in range(0, len(contexts), _NUM_CONTEXTS):
        part = contexts[first : first + _NUM_CONTEXTS].to(qwen.device)
        logits = qwen.network.lm_head(hidden[part[:, 0], part[:, 1]])
        indices = torch.nonzero((owners >= first) & (owners < first + _NUM_CONTEXTS))[:, 0]
        shares = logits.float().log_softmax(dim=-1)
        chosen = shares[(owners[indices] - first).to(qwen.device), tokens[indices].to(qwen.device)]
        found = found.index_put((indices.to(qwen.device),), chosen)
    return found


def _forward(
    qwen: Qwen,
    trees: Sequence[Tree],
    before: Tensor,
    *,
    starts: Sequence[int],
    photos: Mapping[str, Tensor] | None,
    cache: object = None,
) -> Tensor:
    num_rows, longest = before.shape[:2]
    tokens = torch.zeros(num_rows, longest, dtype=torch.long)
    positions = torch.zeros(3, num_rows, longest, dtype=torch.long)
    # Padding attends to itself, which avoids NaN.
    mask = torch.eye(longest, dtype=torch.bool).repeat(num_rows, 1, 1)
    for row, tree in enumerate(trees):
        if len(tree):
            tokens[row, : len(tree)] = torch.tensor(tree.tokens)
            positions[:, row, : len(tree)] = torch.tensor(tree.positions).T + starts[row]
            mask[row, : len(tree), : len(tree)] = torch.from_numpy(tree.ancestors())
    network = qwen.network
    output = network.model(
        input_ids=tokens.to(qwen.device),
        position_ids=positions.to(qwen.device),
        attention_mask=_additive(torch.cat([before, mask], dim=2), network.dtype, qwen.device),
        past_key_values=cache,
        use_cache=cache is not None,
        **(photos or {}),
    )
    hidden: Tensor = output.last_hidden_state
    return hidden


def _additive(mask: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The mask as added to attention logits (R, 1, N, L + N): 0, or the lowest finite number."""
    added = torch.zeros(mask.shape, dtype=dtype, device=device)
    return added.masked_fill_(~mask.to(device), torch.finfo(dtype).min)[:, None]


def chain(tokens: Sequence[int]) -> tuple[Tree, int]:
    """A tree of one text, and the index of its last token."""
    tree = Tree()
    return tree, tree.add(tokens)
