"""Answers that something else writes; vLLM itself is not run."""

import importlib.util
from collections.abc import Sequence

import pytest

from facetry.product import Pixels, Product
from facetry.vlm.config import VlmConfig
from facetry.vlm.vllm import WrittenPredictor, is_wanted
from tests.vlm.conftest import TAXONOMY, MakePredictor


class Scripted:
    """Writes the last value, or a fixed text where a question asks for `odd`."""

    def __init__(self, odd: str = "", text: str = "") -> None:
        self.odd, self.text = odd, text
        self.texts: list[str] = []
        self.num_photos: list[int] = []

    def write(
        self,
        texts: Sequence[str],
        photos: Sequence[Sequence[Pixels]],
        values: Sequence[Sequence[str]],
    ) -> list[str]:
        self.texts += texts
        self.num_photos += [len(each) for each in photos]
        return [
            self.text if self.odd and f"its {self.odd}?" in text else allowed[-1]
            for text, allowed in zip(texts, values, strict=True)
        ]


def predictor_of(writer: Scripted, make_predictor: MakePredictor) -> WrittenPredictor:
    other = make_predictor(answers="constrained")
    return WrittenPredictor(writer, other.qwen.processor, TAXONOMY, other.config, other.preprocesses[0])


def test_what_is_written_gets_all(make_predictor: MakePredictor, products: list[Product]) -> None:
    writer = Scripted()
    predicted = predictor_of(writer, make_predictor).predict(
        [*products, Product(id=9, category="Kurtis", problem="file not found")]
    )
    assert predicted.top.tolist() == [[2, 1, -1], [2, 0, -1], [2, 1, -1], [2, 1, -1], [-1, -1, -1]]
    assert set(predicted.confidence[predicted.head_mask].tolist()) == {1.0}
    assert predicted.problems[4] == "file not found"
    assert len(writer.texts) == 8
    assert all(
        text.count("<|image_pad|>") == num
        for text, num in zip(writer.texts, writer.num_photos, strict=True)
    )


def test_an_answer_outside_the_list_is_recorded(
    make_predictor: MakePredictor, products: list[Product]
) -> None:
    predicted = predictor_of(Scripted("length", "ankle"), make_predictor).predict(products)
    assert predicted.problems == (
        "length: the answer 'ankle' is not allowed",
        "",
        *predicted.problems[2:],
    )
    assert not predicted.head_mask[0].any()
    assert predicted.head_mask[1].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("config", "is_fit"),
    [
        ({"answers": "constrained"}, True),
        ({"answers": "score"}, False),
        ({"answers": "constrained", "prompt": "product"}, False),
        ({"answers": "constrained", "engine": "transformers"}, False),
    ],
)
def test_where_it_is_used(
    config: dict[str, object], is_fit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = VlmConfig.model_validate({"model": "tiny", **config})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not is_wanted(asked), "not installed"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert is_wanted(asked) == is_fit
