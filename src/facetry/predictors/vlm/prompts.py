"""The prompts about products of each category, as trees of tokens.

A prompt is examples with their photos, the product's photo, and then one question for each head; or
one question for the product, whose answer is a JSON object with one attribute after the other.

In a tree, a token attends only to its ancestors and itself. So one forward pass over a tree gives each
token the same result as a pass over the text from the root to that token.

Shapes: N tokens.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.predictors.vlm.config import VlmConfig
from facetry.predictors.vlm.qwen import Qwen
from facetry.taxonomy import Head, Taxonomy

ROOT: Final = -1

Position = tuple[int, int, int]
"""Time, row and column: the three coordinates of Qwen-VL's position encoding (M-RoPE)."""


class Tree:
    """Tokens with the index of their parent; parents come before their children.

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
        self._next_positions: list[int] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, tokens: Sequence[int], after: int = ROOT) -> int:
        """Add a text's tokens after a token; existing tokens with the same ancestors are reused.

        Returns the last token's index.
        """
        for token in tokens:
            found = self._children.get((after, token))
            if found is None:
                start = self.next_position(after)
                found = self._append(token, after, (start, start, start), start + 1)
            after = found
        return after

    def add_image(self, token: int, side: int, after: int) -> int:
        """Add a square photo of `side` x `side` tokens; returns the last token's index."""
        start = self.next_position(after)
        for index in range(side * side):
            row, column = divmod(index, side)
            # The text's positions continue after the photo's side, not the number of its tokens.
            after = self._append(token, after, (start, start + row, start + column), start + side)
        self.num_images += 1
        return after

    def next_position(self, after: int) -> int:
        """The position of text after a token."""
        return 0 if after == ROOT else self._next_positions[after]

    def path(self, end: int) -> list[int]:
        """The indices of the tokens from the root to a token, both included."""
        indices = []
        while end != ROOT:
            indices.append(end)
            end = self.parents[end]
        return indices[::-1]

    def ancestors(self) -> NDArray[np.bool_]:
        """The attention mask (N, N): True for each token's ancestors and itself."""
        mask = np.eye(len(self), dtype=bool)
        for index, parent in enumerate(self.parents):
            if parent != ROOT:
                mask[index] |= mask[parent]
        return mask

    def _append(self, token: int, parent: int, position: Position, after: int) -> int:
        index = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.positions.append(position)
        self._next_positions.append(after)
        self._children[parent, token] = index
        return index


_QUESTION: Final = "\x00question\x00"

Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Question:
    """The question for one head; `slot` is the attribute's index in its category.

    `tokens` are those before the answer. `values` are the allowed answers with an end token, so that
    none is a prefix of another.
    """

    slot: int
    tokens: Tokens
    values: tuple[Tokens, ...]


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A category's prompt. Between two `pieces` is a photo: first the examples', last the product's.

    `questions` share the photo. If `is_chain`, each follows the previous one and its answer.
    """

    pieces: tuple[Tokens, ...]
    questions: tuple[Question, ...]
    is_chain: bool
    image_token: int
    image_side: int

    @cached_property
    def examples(self) -> Tree:
        """The part before the product's photo."""
        tree, end = Tree(), ROOT
        for piece in self.pieces[:-2]:
            end = tree.add_image(self.image_token, self.image_side, tree.add(piece, end))
        tree.add(self.pieces[-2], end)
        return tree

    @cached_property
    def photo(self) -> Tree:
        """The product's photo and the text that all questions share."""
        tree = Tree()
        tree.add(self.pieces[-1], tree.add_image(self.image_token, self.image_side, ROOT))
        return tree

    def answered(self, codes: Sequence[int]) -> tuple[Tree, list[int]]:
        """The whole prompt (without examples) with its answers, and the indices of the answers' tokens.

        `codes` are the values' indices by slot; a negative one means no label: the question is left
        out, so that nothing is learned from it.
        """
        tree, targets = Tree(), []
        shared = tree.add_image(self.image_token, self.image_side, tree.add(self.pieces[0]))
        shared = end = tree.add(self.pieces[1], shared)
        for question in self.questions:
            code = codes[question.slot]
            if code < 0:
                continue
            start = tree.add(question.tokens, end if self.is_chain else shared)
            end = tree.add(question.values[code], start)
            targets += [index for index in tree.path(end) if index > start]
        return tree, targets


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompts:
    """The prompts of all categories, for photos of `size_px`.

    `examples` are, for each category, the known labels of its few-shot examples.
    """

    qwen: Qwen
    taxonomy: Taxonomy
    config: VlmConfig
    size_px: int
    examples: Mapping[str, Sequence[Mapping[str, str]]]

    @cached_property
    def _prompts(self) -> dict[str, Prompt]:
        return {category: self._make(category) for category in self.taxonomy.categories}

    def of(self, category: str) -> Prompt:
        """A category's prompt."""
        return self._prompts[category]

    def text(self, category: str, question: str = "") -> str:
        """The text of a prompt up to the answer, with image tokens for photos."""
        return prompt_text(self.qwen.processor, category, self.examples.get(category, ()), question)

    def _make(self, category: str) -> Prompt:
        before, after = self.text(category, _QUESTION).split(_QUESTION)
        pieces = before.split(self.qwen.processor.image_token)
        heads = self.taxonomy.heads_of(category)
        is_chain = self.config.prompt == "product"
        if is_chain:
            pieces[-1] += self._product_question(category, heads) + after + "{"
        questions = (
            self._json_question(slot, head, is_last=slot == len(heads) - 1)
            if is_chain
            else self._head_question(slot, head, after)
            for slot, head in enumerate(heads)
            if head.values
        )
        return Prompt(
            pieces=tuple(map(self.qwen.tokens, pieces)),
            questions=tuple(questions),
            is_chain=is_chain,
            image_token=self.qwen.image_token,
            image_side=self.size_px // self.qwen.px_per_token,
        )

    def _head_question(self, slot: int, head: Head, after: str) -> Question:
        text = head_question(self.config, head)
        return Question(
            slot=slot,
            tokens=self.qwen.tokens(text + after),
            values=tuple(self.qwen.tokens(value) + self._end for value in head.values),
        )

    def _product_question(self, category: str, heads: Sequence[Head]) -> str:
        lines = [f"{head.attribute}: {', '.join(head.values)}" for head in heads if head.values]
        return self.config.question.format(category=category, attributes="\n".join(lines))

    def _json_question(self, slot: int, head: Head, *, is_last: bool) -> Question:
        closing = self.qwen.tokens('"}') + self._end if is_last else self.qwen.tokens('",')
        return Question(
            slot=slot,
            tokens=self.qwen.tokens(f' {_quoted(head.attribute)}: "'),
            values=tuple(self.qwen.tokens(_quoted(value)[1:-1]) + closing for value in head.values),
        )

    @property
    def _end(self) -> Tokens:
        return (int(self.qwen.processor.tokenizer.eos_token_id),)


def head_question(config: VlmConfig, head: Head) -> str:
    """The text of the question for one head."""
    return config.question.format(
        category=head.category, attribute=head.attribute, values=", ".join(head.values)
    )


def prompt_text(
    processor: Any, category: str, examples: Sequence[Mapping[str, str]], question: str
) -> str:
    """A chat up to the answer: examples of a category with their labels, the photo, the question."""
    content: list[dict[str, str]] = []
    if examples:
        content.append({"type": "text", "text": f"Examples of the category {category}:\n"})
    for labels in examples:
        facts = "; ".join(f"{attribute}: {value}" for attribute, value in labels.items())
        content += [{"type": "image"}, {"type": "text", "text": f"\n{facts}\n"}]
    content += [{"type": "image"}, {"type": "text", "text": question}]
    message = [{"role": "user", "content": content}]
    text: str = processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    return text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
