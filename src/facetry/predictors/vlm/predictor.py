"""The VLM predictor, and its two ways of answering: scoring values and constrained generation.

Both evaluate only tokens of the allowed values.

Shapes: B products, R rows, S side in pixels, A slots, V values.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facetry.images import batched
from facetry.predictions import Predictions
from facetry.predictors.vlm.config import VlmConfig
from facetry.predictors.vlm.prompts import Prompt, Prompts, Tokens, Tree
from facetry.predictors.vlm.qwen import Qwen
from facetry.predictors.vlm.reading import Edge, Reading, chain, log_probabilities
from facetry.product import Pixels, Preprocess, Product
from facetry.taxonomy import Taxonomy

Result = TypeVar("Result")


class BatchSize:
    """A batch size that is halved for good when memory runs out; warns the first time."""

    def __init__(self, value: int) -> None:
        self.value = value
        self._has_warned = False

    def run(self, work: Callable[[int], Result]) -> Result:
        """Call `work` with the batch size and return its result; out of memory, retry with half of it.

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
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"Out of memory: going on with batches of {self.value}, and fewer if need be. "
                "Set a lower batch_size to avoid this.",
                RuntimeWarning,
                stacklevel=3,
            )


Shares = NDArray[np.float64]

Answer = Callable[
    [Reading, Sequence[Tokens], Sequence[Sequence[Tokens]]], tuple[list[Shares], list[Tokens]]
]
"""A function that reads each row's question and answers it with one of its values.

It returns for each row the values' probabilities (V), and the answer's tokens that are not read yet.
"""


def score(
    reading: Reading, questions: Sequence[Tokens], values: Sequence[Sequence[Tokens]]
) -> tuple[list[Shares], list[Tokens]]:
    """Compute all values' likelihoods in one pass, normalised to sum to 1.

    A value's likelihood is the product of its tokens' probabilities, its end included: the probability
    that the model writes it. So the result is the model's distribution restricted to allowed answers.
    It is not divided by the length, which would favour long values.
    """
    trees, ends, leaves = [], [], []
    for question, allowed in zip(questions, values, strict=True):
        tree, end = chain(question)
        leaves.append([tree.add(value, end) for value in allowed])
        trees.append(tree)
        ends.append(end)
    hidden = reading.read(trees, ends)
    edges = [
        (row, tree.parents[index], tree.tokens[index])
        for row, (tree, end) in enumerate(zip(trees, ends, strict=True))
        for index in range(end + 1, len(tree))
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
    """Generate an answer token by token, each the likeliest of those that lead to an allowed value.

    At each step, values that are ruled out share equally the probability of their own next token.
    """
    walks = [_Walk(allowed) for allowed in values]
    unread = [(*question, *walk.go_on()) for question, walk in zip(questions, walks, strict=True)]
    while any(len(walk.alive) > 1 for walk in walks):
        # A finished row reads an empty tree; its unread tokens are read with the next question.
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
    """One answer's path through the tokens of the allowed values.

    `alive` are the indices of the values that begin with the tokens chosen so far.
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
        """Split the live values' probability among tokens; values of the likeliest one stay alive."""
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
        """Advance over the tokens that all live values have in common, and return them."""
        start, first = self._depth, self.values[self.alive[0]]
        while (
            self._depth < len(first)
            and len({self.values[each][self._depth] for each in self.alive}) == 1
        ):
            self._depth += 1
        return first[start : self._depth]

    def finished(self) -> Shares:
        """The values' probabilities; those of other values are capped below the answer's."""
        (answer,) = self.alive
        own = self.shares[answer]
        shares = np.minimum(self.shares, 0.999 * own)
        shares[answer] = own
        return _normalised(shares)


def _totals(tree: Tree, end: int, found: Shares) -> Shares:
    """The summed log-probability on the path from the question's end to each token."""
    totals = np.zeros(len(tree))
    for index in range(end + 1, len(tree)):
        parent = tree.parents[index]
        totals[index] = found[index - end - 1] + (totals[parent] if parent != end else 0.0)
    return totals


def _softmax(logits: Shares) -> Shares:
    return _normalised(np.exp(logits - logits.max()))


def _normalised(weights: Shares) -> Shares:
    shares: Shares = weights / weights.sum()
    return shares


Writer = Callable[[Prompt, Pixels], list[Shares]]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A few-shot example, shown before the question: a product's photo (3, S, S) and known labels."""

    category: str
    labels: Mapping[str, str]
    pixels: Pixels


class VlmPredictor:
    """Predicts by asking a vision-language model, in batches of products of one category.

    `examples` are shown before the questions about their category.
    """

    def __init__(
        self,
        qwen: Qwen,
        taxonomy: Taxonomy,
        config: VlmConfig,
        preprocess: Preprocess,
        examples: Sequence[Example] = (),
    ) -> None:
        self.qwen = qwen
        self.taxonomy = taxonomy
        self.config = config
        self.preprocesses = (preprocess,)
        self.examples = tuple(examples)
        self.prompts = Prompts(
            qwen=qwen,
            taxonomy=taxonomy,
            config=config,
            size_px=preprocess.size_px,
            examples={
                category: [each.labels for each in self.examples if each.category == category]
                for category in taxonomy.categories
            },
        )
        self._batch_size = BatchSize(config.batch_size)

    @torch.no_grad()
    def predict(self, products: Sequence[Product]) -> Predictions:
        """Ask about every product with a photo; for the probabilities see `score` and `constrained`."""
        codes = self.taxonomy.encode_categories([product.category for product in products])
        readable = np.array([not product.problem for product in products], dtype=bool)
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        self.qwen.network.eval()
        for code, category in enumerate(self.taxonomy.categories):
            rows = np.flatnonzero(readable & (codes == code))
            if len(rows):
                pixels = np.stack([products[row].pixels[self.preprocesses[0]] for row in rows.tolist()])
                predicted[rows] = self._batch_size.run(lambda size: self._ask(category, pixels, size))  # noqa: B023
        return Predictions.of(self.taxonomy, products, predicted)

    def _ask(self, category: str, pixels: Pixels, size: int) -> NDArray[np.float32]:
        """Probabilities (B, A, V) for photos of one category, `size` photos at a time."""
        prompt = self.prompts.of(category)
        shape = (len(pixels), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        for first in range(0, len(pixels), size):
            part = slice(first, first + size)
            for row, answers in enumerate(self._answers(category, prompt, pixels[part]), first):
                for question, shares in zip(prompt.questions, answers, strict=True):
                    predicted[row, question.slot, : len(shares)] = shares
        return predicted

    def _answers(self, category: str, prompt: Prompt, pixels: Pixels) -> list[list[Shares]]:
        """The values' probabilities for each product's questions."""
        reading = self._begin(category, prompt, pixels)
        answer = ANSWERS[self.config.answers]
        questions, num = prompt.questions, len(pixels)
        if not prompt.is_chain:
            reading.repeat(len(questions))
            tokens = [question.tokens for question in questions] * num
            shares, _ = answer(reading, tokens, [question.values for question in questions] * num)
            return [list(each) for each in batched(shares, len(questions))]
        unread: Sequence[tuple[int, ...]] = [()] * num
        columns = []
        for question in questions:
            tokens = [(*rest, *question.tokens) for rest in unread]
            shares, unread = answer(reading, tokens, [question.values] * num)
            columns.append(shares)
        return [list(row) for row in zip(*columns, strict=True)]

    def _begin(self, category: str, prompt: Prompt, pixels: Pixels) -> Reading:
        """A reading of the examples and, in each row, the product's photo."""
        reading = Reading(self.qwen)
        shown = [each.pixels for each in self.examples if each.category == category]
        photos = self._see(np.stack(shown)) if shown else None
        reading.read([prompt.examples], [len(prompt.examples) - 1], photos)
        reading.repeat(len(pixels))
        trees = [prompt.photo] * len(pixels)
        reading.read(trees, [len(prompt.photo) - 1] * len(pixels), self._see(pixels))
        return reading

    def _see(self, pixels: Pixels) -> Mapping[str, Tensor]:
        return self.qwen.see(torch.from_numpy(pixels), self.preprocesses[0])
