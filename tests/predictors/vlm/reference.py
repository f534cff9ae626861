"""The plain way to weigh answers: one whole text for every value, through the processor's own path."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from facetry.predictors.vlm.predictor import VlmPredictor
from facetry.predictors.vlm.prompts import head_question
from facetry.product import Pixels, Product
from facetry.taxonomy import Head


@torch.no_grad()
def log_likelihood(
    predictor: VlmPredictor, photos: Sequence[Pixels], text: str, answer: str, *, ends: bool
) -> float:
    """The summed log-probability of an answer's tokens after a text; of its end too, if it `ends`."""
    qwen = predictor.qwen
    end = qwen.processor.tokenizer.eos_token if ends else ""
    answer = answer + end
    images = [Image.fromarray(each.transpose(1, 2, 0)) for each in photos]
    inputs = qwen.processor(text=[text + answer], images=images, return_tensors="pt")
    num_tokens = len(qwen.tokens(answer))
    tokens = inputs["input_ids"][0]
    logits = qwen.network(**inputs).logits[0].log_softmax(-1)
    places = range(len(tokens) - num_tokens, len(tokens))
    return float(sum(logits[place - 1, tokens[place]] for place in places))


def head_shares(predictor: VlmPredictor, product: Product, head: Head) -> NDArray[np.float64]:
    """The values' probabilities with one prompt for each head."""
    text = predictor.prompts.text(product.category, head_question(predictor.config, head))
    return _shares(
        [
            log_likelihood(predictor, _photos(predictor, product), text, value, ends=True)
            for value in head.values
        ]
    )


def product_shares(predictor: VlmPredictor, product: Product) -> list[NDArray[np.float64]]:
    """The values' probabilities of each head, from one JSON object."""
    heads = predictor.taxonomy.heads_of(product.category)
    lines = "\n".join(f"{head.attribute}: {', '.join(head.values)}" for head in heads if head.values)
    question = predictor.config.question.format(category=product.category, attributes=lines)
    text = predictor.prompts.text(product.category, question) + "{"
    found = []
    for place, head in enumerate(heads):
        if not head.values:
            continue
        text += f' "{head.attribute}": "'
        is_last = place == len(heads) - 1
        answers = [value.replace('"', r"\"") + ('"}' if is_last else '",') for value in head.values]
        photos = _photos(predictor, product)
        found.append(
            _shares([log_likelihood(predictor, photos, text, each, ends=is_last) for each in answers])
        )
        text += answers[int(found[-1].argmax())]
    return found


@torch.no_grad()
def written(predictor: VlmPredictor, product: Product, head: Head) -> tuple[str, float]:
    """The value written token by token, each the likeliest allowed one, and its share."""
    qwen = predictor.qwen
    end = qwen.processor.tokenizer.eos_token_id
    text = predictor.prompts.text(product.category, head_question(predictor.config, head))
    images = [Image.fromarray(each.transpose(1, 2, 0)) for each in _photos(predictor, product)]
    alive = {value: (*qwen.tokens(value), end) for value in head.values}
    begun: tuple[int, ...] = ()
    share = 1.0
    while len(alive) > 1:
        so_far = text + qwen.processor.tokenizer.decode(begun)
        inputs = qwen.processor(text=[so_far], images=images, return_tensors="pt")
        chances = qwen.network(**inputs).logits[0, -1].softmax(-1)
        options = {tokens[len(begun)] for tokens in alive.values()}
        best = max(options, key=lambda token: float(chances[token]))
        share *= float(chances[best] / sum(chances[token] for token in options))
        begun = (*begun, best)
        alive = {value: each for value, each in alive.items() if each[: len(begun)] == begun}
    return next(iter(alive)), share


def _photos(predictor: VlmPredictor, product: Product) -> list[Pixels]:
    shown = [each.pixels for each in predictor.examples if each.category == product.category]
    return [*shown, product.pixels[predictor.preprocesses[0]]]


def _shares(logs: Sequence[float]) -> NDArray[np.float64]:
    weights = np.exp(np.array(logs) - max(logs))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
