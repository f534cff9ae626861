"""The photos and the wrong answers that a report shows: the most confident, sure only where they are."""

import numpy as np
import pytest

from facetry.evaluation import gallery
from facetry.evaluation.gallery import Compared, choose_cards, wrong_answers, wrong_table
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of({"Socks": {"color": ["blue", "red"], "height": ["low", "tall"]}})
LABELS = [{"color": "red"}] * 4 + [{"color": "blue"}] * 4 + [{}]
PRODUCTS = [
    Product(id=index, category="Socks", labels=each, page=f"https://shop.example/{index}")
    for index, each in enumerate(LABELS)
]
RED = np.array([0.6, 0.9, 0.8, 0.7, 0.6, 0.9, 0.8, 0.7, 1.0], np.float32)


@pytest.fixture
def predictions(monkeypatch: pytest.MonkeyPatch) -> Predictions:
    monkeypatch.setattr(gallery, "thumbnail", lambda _: "data:,")
    probabilities = np.stack([1 - RED, RED], axis=1)[:, None].repeat(2, axis=1)
    return Predictions.of(TAXONOMY, PRODUCTS, probabilities)


def test_the_surest_come_first(predictions: Predictions) -> None:
    (group,) = choose_cards(Compared.of(predictions, PRODUCTS))
    assert [card.id for card in group.right] == [1, 2, 3, 0]
    assert [card.id for card in group.wrong] == [5, 6, 7, 4]
    color, height = group.wrong[0].answers
    assert (color.verdict, color.value, color.label) == ("wrong", "red", "blue")
    assert (height.verdict, height.label) == ("unlabelled", None)
    assert color.confidence == pytest.approx(0.9)


def test_only_what_is_sure_is_called_so(predictions: Predictions) -> None:
    (group,) = choose_cards(Compared.of(predictions, PRODUCTS))
    titled = {name: [card.id for card in cards] for name, cards in group.titled}
    assert titled == {"Surely wrong": [5], "Wrong": [6, 7, 4], "Surely right": [1], "Right": [2, 3, 0]}


def test_wrong_answers_are_cut_and_counted(predictions: Predictions) -> None:
    shown, num_wrong = wrong_answers(Compared.of(predictions, PRODUCTS), most=3)
    assert [(each.id, each.answer.value, each.answer.label) for each in shown] == [
        (5, "red", "blue"),
        (6, "red", "blue"),
        (7, "red", "blue"),
    ]
    assert num_wrong == 4
    table = wrong_table(Compared.of(predictions, PRODUCTS))
    assert table["id"].to_list() == [5, 6, 7, 4]
    assert [table["id"][each.finding - 2] for each in shown] == [5, 6, 7]
    assert table.row(0) == (5, "Socks", "color", "blue", "red", 0.9, "")
    (group,) = choose_cards(Compared.of(predictions, PRODUCTS))
    assert [card.finding for card in (*group.wrong, *group.right)] == [2, 3, 4, 5, *[None] * 4]
    assert shown[0].page == "https://shop.example/5"
