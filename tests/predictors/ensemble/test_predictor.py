"""The ensemble averages probabilities, and refuses members that do not belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facetry.build.results import WHOLE, evaluate_members
from facetry.errors import PredictorMismatch
from facetry.images import load
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.predictors.ensemble import Ensemble, measure_gain
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["a", "b", "c"], "only": ["sole"], "empty": []},
        "Kurtis": {"length": ["long", "short"]},
    }
)
HALVES = (0.5, 0.5, 0.5)
SMALL = Preprocess(size_px=16, mean=HALVES, std=HALVES)
LARGE = Preprocess(size_px=24, mean=HALVES, std=HALVES, resize="squash")

PRODUCTS = [
    Product(id=1, category="Sarees"),
    Product(id=2, category="Kurtis"),
    Product(id=3, category="Kurtis", problem="file not found"),
    Product(id=4, category="Hats"),
]


class Fake:
    """Predicts random numbers of its own, and remembers the shapes of the pixels it was shown."""

    def __init__(self, seed: int, *, form: Preprocess = SMALL, taxonomy: Taxonomy = TAXONOMY) -> None:
        self.seed = seed
        self.taxonomy = taxonomy
        self.preprocesses = (form,)
        self.seen: list[tuple[int, ...]] = []

    def predict(self, products: Sequence[Product]) -> Predictions:
        self.seen += [each.pixels[self.preprocesses[0]].shape for each in products if each.pixels]
        mask = self.taxonomy.value_mask[self.taxonomy.encode_categories(_categories(products))]
        draws = np.random.default_rng(self.seed).uniform(0.01, 1, mask.shape) ** 8 * mask
        sums = draws.sum(axis=2, keepdims=True)
        shares = np.divide(draws, sums, out=np.zeros_like(draws), where=sums > 0)
        return Predictions.of(self.taxonomy, products, shares.astype(np.float32))


class FakeEmbedder(Fake):
    """Its features are its seed and the product's number."""

    def embed(self, products: Sequence[Product]) -> NDArray[np.float32]:
        return np.array([[self.seed, index] for index, _ in enumerate(products)], dtype=np.float32)

    def predict_and_embed(self, products: Sequence[Product]) -> tuple[Predictions, NDArray[np.float32]]:
        return self.predict(products), self.embed(products)


def _categories(products: Sequence[Product]) -> list[str]:
    return [each.category for each in products]


def probabilities(predictor: Predictor) -> NDArray[np.float32]:
    return predictor.predict(PRODUCTS).probabilities


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        (None, (1 / 3, 1 / 3, 1 / 3)),
        ({}, (1 / 3, 1 / 3, 1 / 3)),
        ({"a": 0.5, "b": 0.25, "c": 0.25}, (0.5, 0.25, 0.25)),
        ({"c": 6, "a": 2, "b": 0}, (0.25, 0, 0.75)),
        ({"a": 0, "b": 1e-9, "c": 0}, (0, 1, 0)),
    ],
)
def test_the_weighted_mean_of_probabilities(
    weights: Mapping[str, float] | None, shares: tuple[float, ...]
) -> None:
    members = {name: Fake(seed) for seed, name in enumerate("abc")}
    ensemble = Ensemble(members, weights)
    parts = [probabilities(member).astype(np.float64) for member in members.values()]
    expected = sum(share * part for share, part in zip(shares, parts, strict=True))
    np.testing.assert_allclose(probabilities(ensemble), expected, atol=1e-6)
    assert ensemble.weights == pytest.approx(dict(zip("abc", shares, strict=True)))


def test_it_is_no_mean_of_logits() -> None:
    """A member that is sure outweighs one that wavers, but does not overrule it."""
    members = {"a": Fake(0), "b": Fake(1)}
    first, second = (probabilities(member)[0, 0].astype(np.float64) for member in members.values())
    geometric = np.sqrt(first * second)
    got = probabilities(Ensemble(members))[0, 0]
    assert np.abs(got - geometric / geometric.sum()).max() > 0.01


def test_one_member_alone_is_itself() -> None:
    assert np.array_equal(probabilities(Ensemble({"only": Fake(3)})), probabilities(Fake(3)))


def test_problems_are_carried_through() -> None:
    predicted = Ensemble({"a": Fake(0), "b": Fake(1)}).predict(PRODUCTS)
    assert predicted.problems == ("", "", "file not found", "unknown category 'Hats'")
    assert not predicted.probabilities[2:].any()
    np.testing.assert_allclose(predicted.probabilities.sum(axis=2)[:2], [[1, 1, 0], [1, 0, 0]])


def test_photos_that_only_the_members_found_unreadable(tmp_path: Path) -> None:
    """Who asks the members first hands over products whose photos nobody has opened yet."""
    Image.new("RGB", (20, 20), "red").save(tmp_path / "fine.png")
    (tmp_path / "empty.png").touch()
    products = [
        Product(
            id=name, category="Kurtis", photos=(tmp_path / f"{name}.png",), labels={"length": "long"}
        )
        for name in ("fine", "empty")
    ]
    ensemble = Ensemble({"a": Fake(0), "b": Fake(1, form=LARGE)})
    whole = evaluate_members(ensemble, products)[WHOLE]
    assert whole.predictions.problems == ("", "file is empty")
    np.testing.assert_allclose(whole.predictions.probabilities.sum(axis=2)[:, 0], [1, 0])
    assert measure_gain(ensemble, products).learned.total == whole.scores.total


def test_the_ensemble_predicts_only_what_every_member_does() -> None:
    ensemble = Ensemble({"a": Fake(0), "b": Fake(1)})
    parts = {name: member.predict(PRODUCTS[:2]) for name, member in ensemble.members.items()}
    parts["b"] = Predictions.of(
        TAXONOMY, [PRODUCTS[0], replace(PRODUCTS[1], problem="no text")], parts["b"].probabilities
    )
    whole = ensemble.combine(parts)
    assert whole.problems == ("", "no text")
    assert not whole.probabilities[1].any()


def test_nothing_to_predict() -> None:
    assert len(Ensemble({"a": Fake(0), "b": Fake(1)}).predict([])) == 0


def test_members_in_any_order_give_the_same() -> None:
    one, other = Ensemble({"a": Fake(0), "b": Fake(1)}), Ensemble({"b": Fake(1), "a": Fake(0)})
    np.testing.assert_allclose(probabilities(one), probabilities(other), atol=1e-7)


def test_an_ensemble_can_be_a_member() -> None:
    inner = Ensemble({"a": Fake(0), "b": Fake(1, form=LARGE)})
    outer = Ensemble({"inner": inner, "c": Fake(2)}, {"inner": 2, "c": 1})
    flat = Ensemble({"a": Fake(0), "b": Fake(1), "c": Fake(2)})
    np.testing.assert_allclose(probabilities(outer), probabilities(flat), atol=1e-6)
    assert outer.preprocesses == (SMALL, LARGE)


def test_each_member_gets_pixels_in_its_own_size_from_one_decode(tmp_path: Path) -> None:
    Image.new("RGB", (40, 60), "green").save(tmp_path / "1.jpg")
    products = [
        Product(id=1, category="Kurtis", photos=(tmp_path / "1.jpg",)),
        Product(id=2, category="Sarees", photos=(tmp_path / "missing.jpg",)),
    ]
    members = {"a": Fake(0), "b": Fake(1, form=LARGE), "c": Fake(2)}
    ensemble = Ensemble(members)
    assert ensemble.preprocesses == (SMALL, LARGE), "each form once"
    predicted = ensemble.predict(list(load(products, ensemble.preprocesses, num_workers=0)))
    seen = {name: member.seen for name, member in members.items()}
    assert seen == {"a": [(3, 16, 16)], "b": [(3, 24, 24)], "c": [(3, 16, 16)]}
    assert predicted.problems == ("", "file not found")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Kurtis": {"length": ["long", "short", "other"]}}, "Kurtis / length"),
        ({"Kurtis": {"size": ["long", "short"]}}, "Kurtis / length"),
        ({"Kurtis": {"length": ["long", "short"], "neck": ["v"]}}, "the number of heads"),
        ({"Tops": {"neck": ["v"]}}, "the number of heads"),
    ],
)
def test_members_of_different_taxonomies(change: dict[str, dict[str, list[str]]], named: str) -> None:
    other = Taxonomy.of({**TAXONOMY.declared(), **change})
    with pytest.raises(PredictorMismatch, match="'a' and 'b'") as caught:
        Ensemble({"a": Fake(0), "b": Fake(1, taxonomy=other)})
    assert named in caught.value.message


def test_members_with_values_in_another_order() -> None:
    """As a model from elsewhere may have, whose values were never sorted."""
    *others, last = TAXONOMY.heads
    swapped = type(last)(last.category, last.attribute, last.values[::-1])
    with pytest.raises(PredictorMismatch, match="Kurtis / length") as caught:
        Ensemble({"a": Fake(0), "b": Fake(1, taxonomy=Taxonomy((*others, swapped)))})
    assert "same order" in caught.value.hint


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 1},
        {"a": 1, "b": 1, "c": 1},
        {"a": 1, "x": 1},
        {"a": -1, "b": 2},
        {"a": 0, "b": 0},
        {"a": float("nan"), "b": 1},
        {"a": float("inf"), "b": 1},
    ],
)
def test_weights_that_do_not_fit(weights: Mapping[str, float]) -> None:
    with pytest.raises(PredictorMismatch, match="do not fit the members a, b"):
        Ensemble({"a": Fake(0), "b": Fake(1)}, weights)


def test_no_members() -> None:
    with pytest.raises(PredictorMismatch, match="at least one member"):
        Ensemble({})


def test_features_are_those_of_the_first_member_that_has_some() -> None:
    members = {"a": Fake(0), "b": FakeEmbedder(1), "c": FakeEmbedder(2)}
    ensemble = Ensemble.of(members)
    assert isinstance(ensemble, Embedder)
    predictions, features = ensemble.predict_and_embed(PRODUCTS)
    assert features.tolist() == ensemble.embed(PRODUCTS).tolist() == [[1, index] for index in range(4)]
    assert np.array_equal(predictions.probabilities, probabilities(Ensemble(members)))
    outer = Ensemble.of({"d": Fake(3), "inner": ensemble})
    assert isinstance(outer, Embedder)
    assert outer.embed(PRODUCTS)[0, 0] == 1
    assert not isinstance(Ensemble.of({"a": Fake(0), "d": Fake(3)}), Embedder)
