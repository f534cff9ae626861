"""Answers are allowed values, and what they weigh is what the model says of whole texts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from facetry.predictions import Predictions
from facetry.predictors.vlm.config import VlmConfig
from facetry.predictors.vlm.predictor import Example, VlmPredictor, _Walk
from facetry.predictors.vlm.qwen import Qwen, open_qwen
from facetry.product import Product
from tests.predictors.vlm.conftest import TAXONOMY, MakePredictor, noise
from tests.predictors.vlm.reference import head_shares, product_shares, written


def shown(predictor: VlmPredictor) -> tuple[Example, ...]:
    labels = [{"length": "knee"}, {"length": "calf length", "colour": "red"}]
    pixels = [each.pixels[predictor.preprocesses[0]] for each in noise(predictor, ["Kurtis"] * 2, 9)]
    return tuple(
        Example(category="Kurtis", labels=each, pixels=photo)
        for each, photo in zip(labels, pixels, strict=True)
    )


def check_against_reference(predictor: VlmPredictor, products: list[Product]) -> None:
    predicted = predictor.predict(products)
    for row, product in enumerate(products):
        heads = TAXONOMY.heads_of(product.category)
        if predictor.config.prompt == "product":
            expected = iter(product_shares(predictor, product))
        else:
            expected = iter([head_shares(predictor, product, head) for head in heads if head.values])
        for slot, head in enumerate(heads):
            if head.values:
                got = predicted.probabilities[row, slot, : len(head.values)]
                np.testing.assert_allclose(got, next(expected), atol=1e-4, err_msg=head.name)


@pytest.mark.parametrize("prompt", ["head", "product"])
@pytest.mark.parametrize("with_examples", [False, True])
def test_scores_are_those_of_whole_texts(
    prompt: str, with_examples: bool, make_predictor: MakePredictor, products: list[Product]
) -> None:
    examples = shown(make_predictor()) if with_examples else ()
    check_against_reference(make_predictor(examples, prompt=prompt, batch_size=2), products)


@pytest.fixture(params=["qwen2_5_vl", "qwen3_vl"])
def relative(request: pytest.FixtureRequest, qwen: Qwen, tmp_path: Path) -> Qwen:
    """A tiny model of another family, read from its folder."""
    config = qwen.network.config
    ids = {
        name: getattr(config, name)
        for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    }
    text = {
        key: value
        for key, value in config.text_config.to_dict().items()
        if key not in {"model_type", "layer_types"}
    }
    eyes = {"depth": 2, "num_heads": 2, "hidden_size": 32, "out_hidden_size": 64}
    parts: dict[str, Any] = {
        "tokenizer": qwen.processor.tokenizer,
        "video_processor": qwen.processor.video_processor,
        "chat_template": qwen.processor.chat_template,
    }
    torch.manual_seed(0)
    if request.param == "qwen2_5_vl":
        eyes |= {"intermediate_size": 64, "fullatt_block_indexes": [1]}
        built = Qwen2_5_VLConfig(text_config=text, vision_config=eyes, **ids)
        Qwen2_5_VLForConditionalGeneration(built).save_pretrained(tmp_path)
        processor = Qwen2_5_VLProcessor(image_processor=Qwen2VLImageProcessor(), **parts)
    else:
        eyes |= {"intermediate_size": 64, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}
        text |= {"head_dim": 16}
        built = Qwen3VLConfig(text_config=text, vision_config=eyes, **ids)
        Qwen3VLForConditionalGeneration(built).save_pretrained(tmp_path)
        images = Qwen2VLImageProcessor(patch_size=16)
        processor = Qwen3VLProcessor(image_processor=images, **parts)
    processor.save_pretrained(tmp_path)
    return open_qwen(VlmConfig(model=str(tmp_path)), TAXONOMY, seed=0)


def test_relatives_of_qwen2(relative: Qwen, make_predictor: MakePredictor) -> None:
    predictor = make_predictor(other=relative)
    check_against_reference(predictor, noise(predictor, ["Kurtis", "Sarees"]))


@pytest.mark.parametrize("prompt", ["head", "product"])
@pytest.mark.parametrize("answers", ["score", "constrained"])
def test_answers_are_allowed_and_sum_to_one(
    prompt: str, answers: str, make_predictor: MakePredictor, products: list[Product]
) -> None:
    predicted = make_predictor(prompt=prompt, answers=answers, batch_size=3).predict(products)
    sums = predicted.probabilities.sum(axis=2)
    np.testing.assert_allclose(sums, predicted.head_mask, atol=1e-6)
    assert predicted.head_mask.tolist() == [[1, 1, 0]] * 4, "a head without values has no answer"
    assert (predicted.probabilities[1, 1, 0], predicted.top[1, 1]) == (1, 0), "the only value"


def test_a_written_answer_has_the_likeliest_allowed_token_at_each_step(
    make_predictor: MakePredictor, products: list[Product]
) -> None:
    predictor = make_predictor(answers="constrained")
    predicted = predictor.predict(products)
    for row, product in enumerate(products):
        for slot, head in enumerate(TAXONOMY.heads_of(product.category)):
            if head.values:
                answer, share = written(predictor, product, head)
                assert head.values[predicted.top[row, slot]] == answer
                if len(head.values) < 3:  # of two values the other has the rest
                    assert predicted.confidence[row, slot] == pytest.approx(share, abs=1e-4)


def test_the_batch_does_not_matter(make_predictor: MakePredictor, products: list[Product]) -> None:
    for answers in ("score", "constrained"):
        alone, together = (
            make_predictor(batch_size=size, answers=answers).predict(products) for size in (1, 16)
        )
        np.testing.assert_allclose(alone.probabilities, together.probabilities, atol=1e-5)


def test_photos_and_examples_matter(make_predictor: MakePredictor, products: list[Product]) -> None:
    plain = make_predictor().predict(products)
    assert not np.allclose(plain.probabilities[0], plain.probabilities[2], atol=1e-4)
    few = make_predictor(shown(make_predictor())).predict(products)
    assert not np.allclose(few.probabilities[0], plain.probabilities[0], atol=1e-4)
    np.testing.assert_allclose(few.probabilities[1], plain.probabilities[1], atol=1e-5)  # no examples


def test_problems_are_carried_through(make_predictor: MakePredictor, products: list[Product]) -> None:
    lost = Product(id=7, category="Kurtis", problem="file not found")
    hat = replace(products[0], id=8, category="Hats")
    predicted = make_predictor().predict([lost, products[0], hat])
    assert predicted.problems == ("file not found", "", "unknown category 'Hats'")
    alone: Predictions = make_predictor().predict(products[:1])
    np.testing.assert_allclose(predicted.probabilities[1], alone.probabilities[0], atol=1e-5)
    assert len(make_predictor().predict([])) == 0


def test_a_walk_shares_out_what_rivals_got() -> None:
    walk = _Walk([(1, 2, 9), (1, 3, 9), (4, 9)])
    assert (walk.go_on(), walk.options()) == ((), [1, 4])
    walk.choose(np.array([0.3, 0.1]))  # 3 to 1
    assert (walk.go_on(), walk.options()) == ((1,), [2, 3])
    walk.choose(np.array([0.02, 0.06]))
    assert (walk.go_on(), walk.options()) == ((3, 9), [])
    np.testing.assert_allclose(walk.finished(), [0.1875, 0.5625, 0.25])


def test_the_answer_is_the_top_even_where_rivals_got_more() -> None:
    walk = _Walk([(1, 2), (1, 3), (1, 4), (5,)])
    walk.choose(np.array([0.5, 0.4]))
    walk.go_on()
    walk.choose(np.array([0.4, 0.3, 0.3]))
    shares = walk.finished()
    assert shares.argmax() == 0
    assert shares.sum() == pytest.approx(1)


def test_tokens_without_any_probability() -> None:
    walk = _Walk([(1,), (2,)])
    walk.choose(np.array([0.0, 0.0]))
    np.testing.assert_allclose(walk.finished(), [0.5, 0.5], atol=1e-3)
