"""Samples are drawn at random, and measured with each photo decoded once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from facetry.catalogue.catalogue import Catalogue
from facetry.confidence.drift.sample import draw_products, measure
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy


def test_a_small_catalogue_is_drawn_whole(catalogue: Catalogue) -> None:
    assert [each.id for each in draw_products(catalogue)] == [each.id for each in catalogue.products()]


def test_a_random_sample_of_a_large_one(catalogue: Catalogue) -> None:
    ids = [each.id for each in catalogue.products()]
    drawn = [each.id for each in draw_products(catalogue, limit=20)]
    assert len(set(drawn)) == 20
    assert drawn == [each for each in ids if each in set(drawn)]
    assert drawn != ids[:20]
    assert drawn == [each.id for each in draw_products(catalogue, limit=20)]


def test_only_of_some_rows(catalogue: Catalogue) -> None:
    rows = np.arange(10, 40)
    drawn = {each.id for each in draw_products(catalogue, limit=8, rows=rows)}
    assert len(drawn) == 8
    assert drawn <= {each.id for each in catalogue.products(rows)}


@pytest.mark.parametrize("is_embedder", [True, False])
def test_what_is_measured_is_what_the_predictor_says(
    catalogue: Catalogue, tiny_predictor: Predictor, is_embedder: bool
) -> None:
    plain = tiny_predictor if is_embedder else Plain(tiny_predictor)
    assert isinstance(plain, Embedder) == is_embedder
    stranger = Product(id=-1, category="Hats", photos=catalogue.products([0])[0].photos)
    blank = Product(id=-2, category=catalogue.taxonomy.categories[0])
    found = measure(plain, [*catalogue.products(range(30)), stranger, blank])
    assert found.unknown == {"Hats": 1}
    assert found.num_unreadable == 32 - 1 - len(found)
    assert (found.features is not None) == is_embedder
    assert len(found.products) == len(found) >= 20
    assert not any(each.pixels for each in found.products)
    assert np.isfinite(found.quality).all()
    categories = [catalogue.taxonomy.categories[each] for each in found.categories]
    assert categories == [each.category for each in found.products]


def test_nothing_to_measure(tiny_predictor: Predictor) -> None:
    assert len(measure(tiny_predictor, [])) == 0


@dataclass(frozen=True)
class Plain:
    """A predictor that gives no features."""

    whole: Predictor

    @property
    def taxonomy(self) -> Taxonomy:
        return self.whole.taxonomy

    @property
    def preprocesses(self) -> tuple[Preprocess, ...]:
        return self.whole.preprocesses

    def predict(self, products: Sequence[Product]) -> Predictions:
        return self.whole.predict(products)
