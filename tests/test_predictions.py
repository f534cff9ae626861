"""Predictions refuse what is malformed, and become the tables that others read."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from facetry.errors import PredictorMismatch
from facetry.predictions import FILL, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["a", "b", "c"], "sole": ["only"], "empty": []},
        "Kurtis": {"length": ["long", "short"]},
    }
)
SAREE = [[0.2, 0.5, 0.3], [1, 0, 0], [0, 0, 0]]
KURTI = [[0.9, 0.1, 0], [0, 0, 0], [0, 0, 0]]
NOTHING = [[0, 0, 0]] * 3


def make(products: Sequence[Product], rows: Sequence[list[list[float]]]) -> Predictions:
    probabilities = np.array(rows, dtype=np.float32).reshape(len(products), 3, 3)
    return Predictions.of(TAXONOMY, products, probabilities)


@pytest.fixture
def predictions() -> Predictions:
    products = [
        Product(id=7, category="Sarees"),
        Product(id=3, category="Kurtis"),
        Product(id=9, category="Kurtis", problem="file not found"),
        Product(id=4, category="Hats"),
    ]
    return make(products, [SAREE, KURTI, KURTI, SAREE])


def test_layout_of_the_arrays() -> None:
    assert TAXONOMY.head_slots.tolist() == [[0, 1, 2], [3, -1, -1]]
    yes, no = True, False
    assert TAXONOMY.value_mask.tolist() == [
        [[yes, yes, yes], [yes, no, no], [no, no, no]],
        [[yes, yes, no], [no, no, no], [no, no, no]],
    ]
    assert TAXONOMY.encode_categories(["Kurtis", "kurtis", "Sarees"]).tolist() == [1, -1, 0]


def test_what_was_predicted(predictions: Predictions) -> None:
    assert len(predictions) == 4
    assert predictions.readable.tolist() == [True, True, False, False]
    assert predictions.top.tolist() == [[1, 0, -1], [0, -1, -1], [-1] * 3, [-1] * 3]
    expected = [[0.5, 1, 0], [0.9, 0, 0], [0] * 3, [0] * 3]
    np.testing.assert_allclose(predictions.confidence, expected, rtol=1e-6)
    assert predictions.head_mask.sum() == 3


def test_problems_keep_no_probability(predictions: Predictions) -> None:
    assert (predictions.probabilities[2:] == 0).all()
    assert predictions.to_problems().rows() == [
        (9, "Kurtis", "file not found"),
        (4, "Hats", "unknown category 'Hats'"),
    ]


def test_a_products_own_problem_comes_before_its_category() -> None:
    product = Product(id=1, category="Hats", problem="file is empty")
    assert make([product], [NOTHING]).problems == ("file is empty",)


def test_long_table(predictions: Predictions) -> None:
    table = predictions.to_long()
    assert table.schema == {
        "id": pl.Int64,
        "category": pl.String,
        "attribute": pl.String,
        "value": pl.String,
        "confidence": pl.Float32,
    }
    assert table.drop("confidence").rows() == [
        (7, "Sarees", "border", "b"),
        (7, "Sarees", "sole", "only"),
        (3, "Kurtis", "length", "long"),
    ]
    assert table["confidence"].to_list() == pytest.approx([0.5, 1.0, 0.9])


@pytest.mark.parametrize("fill", [FILL, ""])
@pytest.mark.parametrize("num_slots", [None, 5])
def test_wide_table(predictions: Predictions, fill: str, num_slots: int | None) -> None:
    table = predictions.to_wide(fill=fill, num_slots=num_slots)
    slots = num_slots or 3
    assert table.columns == ["id", "Category", "len", *(f"attr_{n + 1}" for n in range(slots))]
    rows = [
        [7, "Sarees", 3, "b", "only"],
        [3, "Kurtis", 1, "long"],
        [9, "Kurtis", 1],
        [4, "Hats", 0],
    ]
    assert table.rows() == [tuple(row + [fill] * (slots + 3 - len(row))) for row in rows]


@pytest.mark.parametrize(
    ("ids", "kind", "written"),
    [
        ([1, 2], pl.Int64, [1, 2]),
        (["x", "007"], pl.String, ["x", "007"]),
        ([1, "x"], pl.String, ["1", "x"]),
    ],
)
def test_ids(ids: list[int | str], kind: pl.DataType, written: list[int | str]) -> None:
    products = [
        Product(id=ids[0], category="Kurtis"),
        Product(id=ids[1], category="Kurtis", problem="file is empty"),
    ]
    predictions = make(products, [KURTI, KURTI])
    for table, expected in [
        (predictions.to_wide(), written),
        (predictions.to_long(), written[:1]),
        (predictions.to_problems(), written[1:]),
    ]:
        assert table.schema["id"] == kind
        assert table["id"].to_list() == expected


def test_nothing_predicted() -> None:
    empty = make([], [])
    assert len(empty) == 0
    assert empty.top.shape == (0, 3)
    for table in (empty.to_long(), empty.to_wide(), empty.to_problems()):
        assert table.height == 0
        assert table.schema["id"] == pl.Int64


def test_concatenate(predictions: Predictions) -> None:
    more = make([Product(id=5, category="Sarees")], [SAREE])
    joined = Predictions.concatenate([predictions, make([], []), more])
    assert joined.ids == (7, 3, 9, 4, 5)
    assert joined.to_long().equals(pl.concat([predictions.to_long(), more.to_long()]))
    assert joined.to_wide().equals(pl.concat([predictions.to_wide(), more.to_wide()]))
    assert joined.problems == (*predictions.problems, "")


def test_concatenate_refuses_another_taxonomy(predictions: Predictions) -> None:
    other = Taxonomy.of({"Sarees": {"border": ["a"]}})
    alone = Predictions.of(other, [Product(id=1, category="Sarees")], np.ones((1, 1, 1), np.float32))
    with pytest.raises(PredictorMismatch, match="different taxonomies"):
        Predictions.concatenate([predictions, alone])


def spoil(place: tuple[int, ...], figure: float) -> Callable[[], NDArray[np.float32]]:
    def build() -> NDArray[np.float32]:
        probabilities = np.array([KURTI], np.float32)
        probabilities[place] = figure
        return probabilities

    return build


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: np.array(KURTI, np.float32), id="a dimension missing"),
        pytest.param(lambda: np.zeros((2, 3, 3), np.float32), id="too many products"),
        pytest.param(lambda: np.zeros((1, 3, 4), np.float32), id="too many values"),
        pytest.param(lambda: np.array([KURTI]), id="float64"),
        pytest.param(spoil((0, 0, 0), 0.5), id="a sum below 1"),
        pytest.param(spoil((0, 0, 1), np.nan), id="NaN"),
        pytest.param(spoil((0, 0, 1), np.inf), id="infinite"),
        pytest.param(spoil((0, 0, 2), 1e-5), id="a value that the head does not have"),
        pytest.param(spoil((0, 2, 0), 1), id="an attribute that the category does not have"),
        pytest.param(spoil((0, 0), np.array([1.5, -0.5, 0])), id="negative"),
    ],
)
def test_malformed_probabilities_are_refused(build: Callable[[], NDArray[np.float32]]) -> None:
    with pytest.raises(AssertionError):
        Predictions(
            taxonomy=TAXONOMY,
            ids=(1,),
            categories=("Kurtis",),
            probabilities=build(),
            problems=("",),
        )


@pytest.mark.parametrize(
    ("categories", "problems", "row"),
    [
        (("Kurtis", "Kurtis"), ("",), KURTI),
        (("Kurtis",), (), KURTI),
        (("Hats",), ("",), KURTI),
        (("Kurtis",), ("file is empty",), KURTI),
    ],
)
def test_malformed_products_are_refused(
    categories: tuple[str, ...], problems: tuple[str, ...], row: list[list[float]]
) -> None:
    with pytest.raises((AssertionError, ValueError, IndexError)):
        Predictions(
            taxonomy=TAXONOMY,
            ids=(1,),
            categories=categories,
            probabilities=np.array([row], np.float32),
            problems=problems,
        )


def test_a_predictor_is_anything_of_that_shape() -> None:
    class Fake:
        taxonomy = TAXONOMY
        preprocesses: tuple[Preprocess, ...] = ()

        def predict(self, products: Sequence[Product]) -> Predictions:
            return make(products, [KURTI for _ in products])

    predictor: Predictor = Fake()
    products = [Product(id=1, category="Kurtis")]
    assert predictor.predict(products).to_wide()["attr_1"].to_list() == ["long"]
