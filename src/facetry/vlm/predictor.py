"""The predictor that asks a language model with eyes.

Shapes: B products, K examples, S side in pixels, A slots, V values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facetry.images import batched
from facetry.predictions import Predictions
from facetry.product import Pixels, Preprocess, Product
from facetry.taxonomy import Taxonomy
from facetry.vlm.answers import ANSWERS, Shares
from facetry.vlm.config import VlmConfig
from facetry.vlm.memory import BatchSize
from facetry.vlm.prompts import Prompt, Prompts
from facetry.vlm.qwen import Qwen
from facetry.vlm.reading import Reading

Writer = Callable[[Prompt, Pixels], list[Shares]]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A labelled product that is shown before the question: its photo (3, S, S) and known labels."""

    category: str
    labels: Mapping[str, str]
    pixels: Pixels


class VlmPredictor:
    """Asks about products of one category at a time, `config.batch_size` at once.

    `examples` are shown with the questions about their category.
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
        """Ask about every product with a photo; see `answers` for what probabilities mean here."""
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
        """Probabilities (B, A, V) for photos of one category, `size` of them at a time."""
        prompt = self.prompts.of(category)
        shape = (len(pixels), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        for first in range(0, len(pixels), size):
            part = slice(first, first + size)
            for place, answers in enumerate(self._answers(category, prompt, pixels[part]), first):
                for question, shares in zip(prompt.questions, answers, strict=True):
                    predicted[place, question.slot, : len(shares)] = shares
        return predicted

    def _answers(self, category: str, prompt: Prompt, pixels: Pixels) -> list[list[Shares]]:
        """The values' probabilities for each product's questions."""
        reading = self._begin(category, prompt, pixels)
        answer = ANSWERS[self.config.answers]
        questions, num = prompt.questions, len(pixels)
        if not prompt.is_chain:
            reading.repeat(len(questions))
            asked = [question.tokens for question in questions] * num
            shares, _ = answer(reading, asked, [question.values for question in questions] * num)
            return [list(each) for each in batched(shares, len(questions))]
        unread: Sequence[tuple[int, ...]] = [()] * num
        columns = []
        for question in questions:
            asked = [(*rest, *question.tokens) for rest in unread]
            shares, unread = answer(reading, asked, [question.values] * num)
            columns.append(shares)
        return [list(row) for row in zip(*columns, strict=True)]

    def _begin(self, category: str, prompt: Prompt, pixels: Pixels) -> Reading:
        """A reading that has read the examples, and each row's photo."""
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
