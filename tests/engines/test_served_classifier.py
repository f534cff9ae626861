"""Each product gets the answers of its category's heads; unreadable ones get none."""

import numpy as np
import pytest

from facetry.engines.serving import ServedClassifier
from facetry.predictions import Embedder, Predictor
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["solid", "zari"], "colour": ["blue", "green", "red"]},
        "Tops": {"neck": ["round", "v"]},
    }
)
HALF = (0.5, 0.5, 0.5)
FORM = Preprocess(size_px=8, mean=HALF, std=HALF)


class Constant:
    """An engine that answers the same for every photo, and stores the photos it got."""

    description = "constant"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = np.float32(scale)
        self.shown: list[np.ndarray] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.shown.append(pixels)
        heads = {"border": [0.2, 0.8, 0], "colour": [0.1, 0.3, 0.6], "neck": [0.7, 0.3, 0]}
        rows = [heads[head.attribute] for head in TAXONOMY.heads]
        return np.tile(np.array(rows, np.float32) * self.scale, (len(pixels), 1, 1))

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.reshape(len(pixels), -1)[:, :4].astype(np.float32)

    def predict_and_embed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self(pixels), self.embed(pixels)


def product(number: int, category: str, problem: str = "") -> Product:
    pixels = {} if problem else {FORM: np.full((3, 8, 8), number, np.uint8)}
    return Product(id=number, category=category, problem=problem, pixels=pixels)


@pytest.mark.parametrize("scale", [1.0, 0.98], ids=["exact", "rounded"])
def test_takes_the_heads_of_each_products_category(scale: float) -> None:
    engine = Constant(scale)
    predictor: Predictor = ServedClassifier(TAXONOMY, FORM, engine)
    products = [
        product(1, "Tops"),
        product(2, "Hats"),
        product(3, "Sarees"),
        product(4, "Sarees", "file not found"),
    ]
    predicted = predictor.predict(products)
    expected = np.zeros((4, 2, 3))
    expected[0, 0] = [0.7, 0.3, 0]
    expected[2] = [[0.2, 0.8, 0], [0.1, 0.3, 0.6]]
    np.testing.assert_allclose(predicted.probabilities, expected, atol=1e-6)
    assert predicted.problems == ("", "unknown category 'Hats'", "", "file not found")
    assert [int(photo[0, 0, 0]) for photo in engine.shown[0]] == [1, 3]


@pytest.mark.parametrize(
    "products", [[], [product(1, "Hats")], [product(1, "Tops", "truncated")]], ids=len
)
def test_an_engine_is_not_run_on_an_empty_batch(products: list[Product]) -> None:
    engine = Constant()
    predicted = ServedClassifier(TAXONOMY, FORM, engine).predict(products)
    assert len(predicted) == len(products)
    assert not predicted.readable.any()
    assert not engine.shown


def test_has_its_preprocesses_and_predicts() -> None:
    served = ServedClassifier(TAXONOMY, FORM, Constant())
    assert (served.taxonomy, served.preprocesses) == (TAXONOMY, (FORM,))


def test_features_are_zero_for_a_product_with_a_problem() -> None:
    embedder: Embedder = ServedClassifier(TAXONOMY, FORM, Constant())
    unread = product(4, "Sarees", "file not found")
    features = embedder.embed([product(1, "Tops"), unread, product(2, "Hats")])
    assert features[:, 0].tolist() == [1, 0, 2], "features need no category"
    assert embedder.embed([unread]).shape == (1, 4)
    assert embedder.embed([]).shape == (0, 4)


def test_predictions_and_features_come_together() -> None:
    engine = Constant()
    served = ServedClassifier(TAXONOMY, FORM, engine)
    products = [product(1, "Tops"), product(4, "Sarees", "file not found"), product(3, "Sarees")]
    predictions, features = served.predict_and_embed(products)
    assert len(engine.shown) == 1, "the photos are shown once"
    expected = ServedClassifier(TAXONOMY, FORM, Constant()).predict(products)
    assert np.array_equal(predictions.probabilities, expected.probabilities)
    assert np.array_equal(features, served.embed(products))
    assert [each.shape for each in (served.predict_and_embed([])[1], served.embed([]))] == [(0, 4)] * 2
