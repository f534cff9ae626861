"""How neighbours vote: whose vote counts, for how much, and the answer where nobody votes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.predictions import Embedder
from facetry.predictors.search.collection import Collection, to_table
from facetry.predictors.search.config import SearchConfig
from facetry.predictors.search.predictor import SimilaritySearch, near_weights
from facetry.product import Pixels, Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Shirts": {"color": ["blue", "green", "red"], "neck": ["round", "v"]},
        "Shoes": {"heel": ["flat", "high"]},
        "Hats": {"brim": ["none", "wide"]},
    }
)


class ByAngle:
    """Takes the first pixel for an angle in degrees."""

    preprocess = Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1))
    feature_size = 2
    dtype = np.float32

    def encode(self, pixels: Pixels) -> np.ndarray:
        return at(*pixels[:, 0, 0, 0])


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(np.array(degrees, dtype=np.float64))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def product(angle: int, category: str = "Shirts", problem: str = "", **labels: str) -> Product:
    pixels = np.full((3, 8, 8), angle, dtype=np.uint8)
    return Product(
        id=angle,
        category=category,
        photos=(Path(f"{angle}.jpg"),),
        labels=labels,
        pixels={} if problem else {ByAngle.preprocess: pixels},
        problem=problem,
    )


INDEXED = [
    product(0, color="red", neck="v"),
    product(10, color="blue"),
    product(20, color="blue", neck="round"),
    product(30, color="green"),
    product(5, "Shoes", heel="high"),
    product(40, neck="round"),
]


def make_search(
    num_neighbours: int = 3, products: Sequence[Product] = INDEXED, **config: object
) -> SimilaritySearch:
    features = at(*(each.id for each in products if isinstance(each.id, int)))
    return SimilaritySearch(
        collection=Collection.build(TAXONOMY, to_table(TAXONOMY, products), features),
        encoder=ByAngle(),
        config=SearchConfig.model_validate(config),
        num_neighbours=num_neighbours,
    )


def answers(search: SimilaritySearch, each: Product) -> list[str]:
    predictions = search.predict([each])
    heads = TAXONOMY.heads_of(each.category)
    return [head.values[code] for head, code in zip(heads, predictions.top[0], strict=False)]


def test_the_majority_of_the_nearest_decides() -> None:
    assert answers(make_search(1), product(0)) == ["red", "v"]
    assert answers(make_search(3), product(1)) == ["blue", "round"]  # a tie goes to the frequent one


def test_probabilities_are_shares_of_votes_smoothed_by_frequencies() -> None:
    probabilities = make_search(3, smoothing=1.0).predict([product(0)]).probabilities[0]
    # Votes: blue 2, red 1. Frequencies with one more for each value: blue 3, green 2, red 2 of 7.
    assert probabilities[0] == pytest.approx([(2 + 3 / 7) / 4, (2 / 7) / 4, (1 + 2 / 7) / 4])
    # neck: round and v have a vote each, of frequencies round 3, v 2 of 5; the third value is padding.
    assert probabilities[1] == pytest.approx([(1 + 3 / 5) / 3, (1 + 2 / 5) / 3, 0])


def test_neighbours_without_a_label_have_no_vote() -> None:
    search = make_search(1)
    assert answers(search, product(10)) == ["blue", "round"]  # nobody votes on the neck
    assert search.predict([product(10)]).probabilities[0, 1] == pytest.approx([3 / 5, 2 / 5, 0])


def test_only_the_own_category_votes() -> None:
    assert make_search(5).predict([product(5, "Shoes")]).probabilities[0, 0] == pytest.approx(
        [(0 + 1 / 3) / 2, (1 + 2 / 3) / 2, 0]
    )


def test_near_votes_may_count_more() -> None:
    near_red = [product(1, color="red"), product(40, color="blue"), product(60, color="blue")]
    assert answers(make_search(3, near_red), product(0))[0] == "blue"
    assert answers(make_search(3, near_red, vote="weighted"), product(0))[0] == "red"


def test_a_category_without_indexed_products_has_equal_probabilities() -> None:
    predictions = make_search().predict([product(3, "Hats")])
    assert predictions.probabilities[0, 0] == pytest.approx([0.5, 0.5, 0])
    assert predictions.problems == ("",)


def test_with_k_above_the_number_of_products_all_vote() -> None:
    everyone, many = make_search(5), make_search(1000)
    query = [product(17)]
    assert np.array_equal(everyone.predict(query).probabilities, many.predict(query).probabilities)
    assert len(many.nearest(query[0], 1000)) == 5


def test_what_cannot_be_read_is_recorded() -> None:
    batch = [product(1, problem="file is empty"), product(0), product(2, "Socks")]
    predictions = make_search().predict(batch)
    assert predictions.problems == ("file is empty", "", "unknown category 'Socks'")
    assert predictions.head_mask.any(axis=1).tolist() == [False, True, False]
    assert len(make_search().predict([])) == 0


def test_features_are_the_encoder_s_and_zero_for_what_cannot_be_read() -> None:
    embedder: Embedder = make_search()
    features = embedder.embed([product(1, problem="file is empty"), product(90), product(2, "Socks")])
    np.testing.assert_allclose(features, [[0, 0], [0, 1], at(2)[0]], atol=1e-6)
    assert embedder.embed([]).shape == (0, 2)
    predictions, again = embedder.predict_and_embed([product(1, problem="file is empty"), product(90)])
    np.testing.assert_allclose(again, features[:2], atol=1e-6)
    assert predictions.head_mask.any(axis=1).tolist() == [False, True]


def test_the_nearest_are_returned_with_their_labels() -> None:
    near = make_search().nearest(product(12), 2)
    assert [each.id for each in near] == [10, 20]
    assert near[0].labels == {"color": "blue"}
    assert near[0].photos[0].name == "10.jpg"
    assert near[0].distance == pytest.approx(1 - np.cos(np.radians(2)), abs=1e-6)


def test_without_a_category_all_products_are_searched() -> None:
    near = make_search().nearest(product(4, ""), 3)
    assert [(each.id, each.category) for each in near] == [
        (5, "Shoes"),
        (0, "Shirts"),
        (10, "Shirts"),
    ]


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([0.0, 0.5, 1.0], [1.05, 0.55, 0.05]),
        ([0.2, 0.2], [1.0, 1.0]),
        ([0.0, 1.0, np.inf], [1.05, 0.05, 0.0]),
        ([np.inf, np.inf], [0.0, 0.0]),
        ([0.3], [1.0]),
    ],
)
def test_weights_fall_with_the_distance(distances: list[float], expected: list[float]) -> None:
    shares = np.array(expected)
    num_there = np.isfinite(distances).sum()
    wanted = shares * num_there / max(shares.sum(), 1e-12)
    assert near_weights(np.array([distances], dtype=np.float32))[0] == pytest.approx(wanted)


def test_labels_off_the_list_are_none() -> None:
    table = to_table(TAXONOMY, [product(1, color="pink", neck="v")])
    assert table.select("label_0", "label_1").row(0) == (None, 1)


def test_neighbours_have_the_address_of_their_page(tmp_path: Path) -> None:
    products = [replace(product(1), page="https://shop.example/1"), product(2)]
    search = make_search(products=products)
    search.collection.save(tmp_path)
    nearest = search.nearest(product(1), 2)
    assert [each.page for each in nearest] == ["https://shop.example/1", None]
    pl.read_parquet(tmp_path / "products.parquet").drop("page").write_parquet(
        tmp_path / "products.parquet"
    )
    older = Collection.load(tmp_path, TAXONOMY, is_binary=False, to_append=False)
    assert older.table.columns == search.collection.table.columns
    assert older.table["page"].to_list() == [None, None]


def test_collections_grow_by_products_and_categories() -> None:
    search = make_search()
    more = [product(50, color="red"), product(60, "Hats", brim="wide")]
    collection = search.collection.extended(to_table(TAXONOMY, more), at(50, 60))
    assert len(collection) == 8
    assert collection.search(0, at(50), 1)[1].tolist() == [[6]]
    assert collection.search(2, at(50), 1)[1].tolist() == [[7]]
