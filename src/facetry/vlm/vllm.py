"""vLLM writes the answers, where it is installed: the same prompts, many products at once.

It is not among the packages of the `vlm` extra, as it brings a torch of its own: `pip install vllm`.
It was never run on the machines that test this.

Shapes: B products, S side in pixels, A slots, V values.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from facetry.predictions import Predictions
from facetry.product import Pixels, Preprocess, Product
from facetry.taxonomy import Taxonomy
from facetry.vlm.config import VlmConfig
from facetry.vlm.predictor import Example
from facetry.vlm.prompts import head_question, prompt_text


def is_wanted(config: VlmConfig) -> bool:
    """Whether vLLM is installed and can give the answers asked for: written ones, one head at a time."""
    is_fit = config.answers == "constrained" and config.prompt == "head" and config.engine == "auto"
    return is_fit and importlib.util.find_spec("vllm") is not None


class Writer(Protocol):
    """Writes answers."""

    def write(
        self,
        texts: Sequence[str],
        photos: Sequence[Sequence[Pixels]],
        values: Sequence[Sequence[str]],
    ) -> list[str]:
        """One of its allowed values for each text, which has a place for each of its photos."""
        ...


class WrittenPredictor:
    """Takes the answers that a writer writes, which come without probabilities: each gets all of it.

    A product with an answer that is not allowed has that as its problem.
    """

    def __init__(
        self,
        writer: Writer,
        processor: Any,
        taxonomy: Taxonomy,
        config: VlmConfig,
        preprocess: Preprocess,
        examples: Sequence[Example] = (),
    ) -> None:
        self.writer = writer
        self.processor = processor
        self.taxonomy = taxonomy
        self.config = config
        self.preprocesses = (preprocess,)
        self.examples = tuple(examples)

    def predict(self, products: Sequence[Product]) -> Predictions:
        """Have all questions about all products answered at once."""
        asked = [
            (row, slot, head)
            for row, product in enumerate(products)
            if not product.problem and product.category in self.taxonomy.categories
            for slot, head in enumerate(self.taxonomy.heads_of(product.category))
            if head.values
        ]
        written = self.writer.write(
            [self._text(head.category, head_question(self.config, head)) for _, _, head in asked],
            [self._photos(products[row]) for row, _, _ in asked],
            [head.values for _, _, head in asked],
        )
        answered = list(products)
        shape = (len(products), self.taxonomy.num_slots, self.taxonomy.num_values)
        predicted = np.zeros(shape, dtype=np.float32)
        for (row, slot, head), answer in zip(asked, written, strict=True):
            if answer in head.values:
                predicted[row, slot, head.values.index(answer)] = 1
            else:
                problem = f"{head.attribute}: the answer {answer!r} is not allowed"
                answered[row] = replace(products[row], problem=problem)
        return Predictions.of(self.taxonomy, answered, predicted)

    def _text(self, category: str, question: str) -> str:
        labels = [each.labels for each in self.examples if each.category == category]
        return prompt_text(self.processor, category, labels, question)

    def _photos(self, product: Product) -> list[Pixels]:
        shown = [each.pixels for each in self.examples if each.category == product.category]
        return [*shown, product.pixels[self.preprocesses[0]]]


class VllmWriter:
    """vLLM with a checkpoint, by name or folder, and LoRA's weights in the folder `adapter`."""

    def __init__(self, model: str, revision: str | None, adapter: Path | None, num_photos: int) -> None:
        from vllm import LLM
        from vllm.lora.request import LoRARequest

        self._lora = LoRARequest("facetry", 1, str(adapter)) if adapter else None
        self._model = LLM(
            model=model,
            revision=revision,
            enable_lora=adapter is not None,
            max_lora_rank=512,
            enable_prefix_caching=True,
            limit_mm_per_prompt={"image": num_photos},
        )

    def write(
        self,
        texts: Sequence[str],
        photos: Sequence[Sequence[Pixels]],
        values: Sequence[Sequence[str]],
    ) -> list[str]:
        """See `Writer`."""
        from PIL import Image
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        shown = [[Image.fromarray(each.transpose(1, 2, 0)) for each in some] for some in photos]
        asked = [
            {"prompt": text, "multi_modal_data": {"image": some}}
            for text, some in zip(texts, shown, strict=True)
        ]
        params = [
            SamplingParams(
                temperature=0,
                max_tokens=256,
                structured_outputs=StructuredOutputsParams(choice=list(allowed)),
            )
            for allowed in values
        ]
        written = self._model.generate(asked, params, lora_request=self._lora)
        return [each.outputs[0].text for each in written]
