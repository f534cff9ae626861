"""One product that a predictor fails on does not take the others with it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from facetry.batch.patient import PatientPredictor
from facetry.batch.shard import cut
from facetry.errors import PredictorMismatch
from facetry.images import load
from facetry.predictions import Predictions
from facetry.product import Product
from tests.batch.workloads import Seeing, make_table, open_table


@pytest.fixture
def products(tmp_path: Path) -> list[Product]:
    """Six products; the photo of number 3 is missing, that of number 5 is none."""
    shard = next(cut(open_table(make_table(tmp_path, 6))))
    return list(load(shard.products, Seeing().preprocesses, num_workers=1))


def test_only_the_product_at_fault_is_marked(products: list[Product]) -> None:
    failures: list[tuple[object, str]] = []
    patient = PatientPredictor(
        Seeing(culprits=[1]), lambda *failed: failures.append((failed[0].id, str(failed[1])))
    )
    predictions = patient.predict(products)
    assert predictions.problems == ("", "failed: RuntimeError", "", "file not found", "", "not an image")
    assert predictions.head_mask.any(axis=1).tolist() == [True, False, True, False, True, False]
    assert failures == [(1, "cannot see 1\nat all")]


def test_its_answers_are_the_predictors(products: list[Product]) -> None:
    seeing = Seeing()
    patient = PatientPredictor(seeing)
    assert (patient.taxonomy, patient.preprocesses) == (seeing.taxonomy, seeing.preprocesses)
    assert patient.predict(products).to_rows().equals(seeing.predict(products).to_rows())


@pytest.mark.parametrize("error", [PredictorMismatch("all"), MemoryError(), KeyboardInterrupt()])
def test_errors_that_concern_all_products_are_raised(
    products: list[Product], error: BaseException
) -> None:
    class Raising(Seeing):
        def predict(self, products: Sequence[Product]) -> Predictions:  # noqa: ARG002
            raise error

    with pytest.raises(type(error)):
        PatientPredictor(Raising()).predict(products)
