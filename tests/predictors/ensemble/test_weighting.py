"""Learned weights of an ensemble's members: what they learn, from how much, and what is kept."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facetry.errors import ModelFolderError, NotEnoughData
from facetry.predictions import Predictions
from facetry.predictors.ensemble import (
    WEIGHTING,
    Ensemble,
    FixedWeights,
    Gate,
    HeadWeights,
    Learned,
    learn_weighting,
    measure_gain,
    read_weighting,
    save_weighting,
)
from facetry.predictors.ensemble.weighting import signals
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {"Sarees": {"border": ["a", "b", "c"], "fabric": ["x", "y"]}, "Kurtis": {"length": ["l", "s"]}}
)
BORDER, FABRIC = 0, 1
KINDS: tuple[Learned, ...] = ("per_head", "gate")


@dataclass(frozen=True, eq=False)
class Knower:
    """Right in a share of a Sarees head's labels, with the given confidence in each answer."""

    seed: int
    skill: tuple[float, float]
    surety: tuple[float, float] = (0.8, 0.8)
    is_honest: bool = False
    taxonomy: Taxonomy = TAXONOMY
    preprocesses: tuple[Preprocess, ...] = ()

    def predict(self, products: Sequence[Product]) -> Predictions:
        shares = np.zeros((len(products), 2, 3), dtype=np.float32)
        for row, product in enumerate(products):
            if product.problem:
                continue
            if product.category != "Sarees":
                shares[row, 0, :2] = 0.5
                continue
            for slot, head in enumerate(TAXONOMY.heads_of("Sarees")):
                label = head.values.index(product.labels[head.attribute])
                draws = np.random.RandomState([self.seed, int(product.id), slot])
                is_right = draws.random_sample() < self.skill[slot]
                size = len(head.values)
                answer = label if is_right else (label + 1 + draws.randint(size - 1)) % size
                sure = self.surety[slot]
                if self.is_honest and not is_right:
                    sure = 1 / size + 0.02
                shares[row, slot, :size] = (1 - sure) / (size - 1)
                shares[row, slot, answer] = sure
        return Predictions.of(self.taxonomy, products, shares)


MakeSarees = Callable[..., list[Product]]


@pytest.fixture(scope="module")
def sarees(tmp_path_factory: pytest.TempPathFactory) -> MakeSarees:
    """Makes labelled products; all have one photo, as nobody looks at it."""
    photo = tmp_path_factory.mktemp("photos") / "1.png"
    Image.new("RGB", (4, 4)).save(photo)

    def make(count: int, first: int = 0) -> list[Product]:
        draws = np.random.RandomState(first)
        return [
            Product(
                id=first + each,
                category="Sarees",
                photos=(photo,),
                labels={"border": "abc"[draws.randint(3)], "fabric": "xy"[draws.randint(2)]},
            )
            for each in range(count)
        ]

    return make


def per_head(ensemble: Ensemble, products: Sequence[Product], prior: float) -> NDArray[np.float64]:
    weighting = learn_weighting(ensemble, products, "per_head", prior_labels=prior)
    assert isinstance(weighting, HeadWeights)
    return weighting.weights


SPECIALISTS = Ensemble({"border": Knower(1, (0.9, 0.5)), "fabric": Knower(2, (0.4, 0.9))})


def test_each_head_weights_its_best_member_most(sarees: MakeSarees) -> None:
    weights = per_head(SPECIALISTS, sarees(400), 20)
    assert weights[BORDER, 0] > 0.75
    assert weights[FABRIC, 1] > 0.75
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_a_head_without_labels_keeps_the_fixed_weights(sarees: MakeSarees) -> None:
    ensemble = Ensemble(SPECIALISTS.members, {"border": 3, "fabric": 1})
    np.testing.assert_allclose(per_head(ensemble, sarees(50), 20)[2], [0.75, 0.25])


@pytest.mark.parametrize(("few", "many"), [(5, 50), (50, 500)])
def test_few_labels_hardly_move_the_weights(few: int, many: int, sarees: MakeSarees) -> None:
    moved = [abs(per_head(SPECIALISTS, sarees(count), 50)[BORDER, 0] - 0.5) for count in (few, many)]
    assert moved[0] < moved[1]
    assert moved[0] <= 0.5 * few / (few + 50), "no more than the labels' share"


def test_the_prior_pulls_as_hard_as_that_many_labels(sarees: MakeSarees) -> None:
    """One member knows nothing at all: all the weight goes to the other."""
    ensemble = Ensemble({"knows": Knower(1, (1, 1), (1, 1)), "not": Knower(2, (0, 0), (1, 1))})
    np.testing.assert_allclose(per_head(ensemble, sarees(30), 10)[BORDER], [35 / 40, 5 / 40])


def test_weights_by_head_are_at_the_optimum(sarees: MakeSarees) -> None:
    products = sarees(200)
    found = per_head(SPECIALISTS, products, 25)[BORDER, 0]
    predicted = SPECIALISTS.predict_members(products)
    codes = ["abc".index(product.labels["border"]) for product in products]
    first, second = (each.probabilities[np.arange(200), 0, codes] for each in predicted.values())

    def objective(weight: float) -> float:
        likelihood = np.log(weight * first + (1 - weight) * second).sum()
        return float(likelihood + 12.5 * np.log(weight) + 12.5 * np.log(1 - weight))

    grid = np.linspace(0.01, 0.99, 981)
    assert found == pytest.approx(grid[np.argmax([objective(each) for each in grid])], abs=0.002)


def test_a_gate_follows_the_member_that_is_honestly_sure(sarees: MakeSarees) -> None:
    members = {
        "honest": Knower(1, (0.6, 0.6), (0.7, 0.7), is_honest=True),
        "loud": Knower(2, (0.6, 0.6), (0.95, 0.95)),
    }
    ensemble = Ensemble(members)
    gate = learn_weighting(ensemble, sarees(400), "gate", prior_labels=20)
    assert isinstance(gate, Gate)
    learned = Ensemble(members, weighting=gate)
    assert learned.is_learned
    assert not ensemble.is_learned
    test = sarees(400, first=1000)
    gain = measure_gain(learned, test)
    assert gain.difference.interval[0] > 0, gain.sentence()
    assert "better than the fixed weights" in gain.sentence()
    stacked = np.stack([each.probabilities for each in learned.predict_members(test).values()])
    heads = np.tile([BORDER, FABRIC], (400, 1))
    shares = gate.shares(stacked, heads)
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    sure = stacked[0].max(axis=2) > 0.65
    assert shares[0][sure].min() > shares[0][~sure].max()


def test_a_strong_prior_leaves_everything_fixed(sarees: MakeSarees) -> None:
    ensemble = Ensemble(SPECIALISTS.members, {"border": 3, "fabric": 1})
    products = sarees(50)
    for kind in KINDS:
        weighting = learn_weighting(ensemble, products, kind, prior_labels=1e7)
        learned = Ensemble(ensemble.members, ensemble.weights, weighting)
        expected = ensemble.predict(products).probabilities
        np.testing.assert_allclose(learned.predict(products).probabilities, expected, atol=1e-3)
        assert "not told apart" in measure_gain(learned, products).sentence()


def test_three_members_and_one(sarees: MakeSarees) -> None:
    three = {**SPECIALISTS.members, "poor": Knower(3, (0.3, 0.5))}
    weights = per_head(Ensemble(three), sarees(400), 20)
    assert weights[BORDER].argmax() == 0
    assert weights[BORDER].argmin() == 2 or weights[BORDER, 1] < 0.3
    for kind in KINDS:
        alone = Ensemble({"a": three["poor"]})
        weighting = learn_weighting(alone, sarees(20), kind, prior_labels=20)
        learned = Ensemble(alone.members, weighting=weighting).predict(sarees(5))
        assert np.array_equal(learned.probabilities, alone.predict(sarees(5)).probabilities)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_labels_teach_the_same(kind: Learned, sarees: MakeSarees) -> None:
    first, again = (learn_weighting(SPECIALISTS, sarees(100), kind, prior_labels=20) for _ in range(2))
    stacked = np.stack([each.predict(sarees(5)).probabilities for each in SPECIALISTS.members.values()])
    heads = np.tile([BORDER, FABRIC], (5, 1))
    assert np.array_equal(first.shares(stacked, heads), again.shares(stacked, heads))


@pytest.mark.parametrize("kind", KINDS)
def test_products_without_usable_labels_teach_nothing(
    kind: Learned, tmp_path: Path, sarees: MakeSarees
) -> None:
    known = {"border": "a", "fabric": "x"}
    others = [
        Product(id=901, category="Hats", labels=known),
        Product(id=902, category="Sarees", labels=known, problem="file not found"),
        Product(id=903, category="Kurtis", labels={"length": "off the list"}),
        Product(id=904, category="Kurtis"),
    ]
    files = []
    for name, products in (("plain", sarees(60)), ("mixed", [*sarees(60), *others])):
        (tmp_path / name).mkdir()
        weighting = learn_weighting(SPECIALISTS, products, kind, prior_labels=20)
        save_weighting(tmp_path / name, weighting, list(SPECIALISTS.members), TAXONOMY)
        files.append((tmp_path / name / WEIGHTING).read_text())
    assert files[0] == files[1]


@pytest.mark.parametrize("kind", KINDS)
def test_no_label_to_learn_from(kind: Learned) -> None:
    with pytest.raises(NotEnoughData, match="no label"):
        learn_weighting(SPECIALISTS, [Product(id=1, category="Kurtis")], kind, prior_labels=20)


@pytest.mark.parametrize("kind", KINDS)
def test_learned_weights_are_stored(kind: Learned, tmp_path: Path, sarees: MakeSarees) -> None:
    weighting = learn_weighting(SPECIALISTS, sarees(100), kind, prior_labels=20)
    save_weighting(tmp_path, weighting, list(SPECIALISTS.members), TAXONOMY)
    kept = read_weighting(tmp_path, list(SPECIALISTS.members), TAXONOMY)
    products = [*sarees(10), Product(id=77, category="Kurtis"), Product(id=78, category="Hats")]
    got, expected = (
        Ensemble(SPECIALISTS.members, weighting=each).predict(products).probabilities
        for each in (kept, weighting)
    )
    assert np.array_equal(got, expected)
    with pytest.raises(ModelFolderError, match="does not fit"):
        read_weighting(tmp_path, ["border", "other"], TAXONOMY)


def test_a_damaged_or_missing_file(tmp_path: Path) -> None:
    for text in (None, "", "[]", json.dumps({"weighting": "per_head", "heads": {}})):
        if text is not None:
            (tmp_path / WEIGHTING).write_text(text)
        with pytest.raises(ModelFolderError, match="does not fit"):
            read_weighting(tmp_path, ["a"], TAXONOMY)


def test_fixed_weights_do_not_depend_on_predictions() -> None:
    stacked = np.zeros((2, 3, 1, 4), dtype=np.float32)
    shares = FixedWeights(np.array([0.7, 0.3])).shares(stacked, np.zeros((3, 1), dtype=np.int64))
    assert shares.shape == (2, 3, 1)
    np.testing.assert_allclose(shares[:, 0, 0], [0.7, 0.3])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([1, 0, 0, 0], (1, 1, 0)),
        ([0.25, 0.25, 0.25, 0.25], (0.25, 0, 1)),
        ([0.5, 0.5, 0, 0], (0.5, 0, 0.5)),
        ([0, 0, 0, 0], (0, 0, 0)),
        ([1], (1, 1, 0)),
    ],
)
def test_signals(answer: list[float], expected: tuple[float, ...]) -> None:
    np.testing.assert_allclose(signals(np.array(answer, dtype=np.float32)), expected, atol=1e-6)
