"""Batches are halved when memory runs out, and it is said once."""

import warnings

import numpy as np
import pytest
import torch

from facetry.predictors.vlm.predictor import BatchSize
from facetry.product import Product
from tests.predictors.vlm.conftest import MakePredictor


def test_halved_until_it_fits_and_said_once() -> None:
    seen = []

    def work(size: int) -> str:
        seen.append(size)
        if size > 3:
            raise torch.OutOfMemoryError
        return f"done with {size}"

    batch_size = BatchSize(16)
    with pytest.warns(RuntimeWarning, match="batches of 8") as caught:
        assert batch_size.run(work) == "done with 2"
    assert len(caught) == 1
    assert seen == [16, 8, 4, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert batch_size.run(work) == "done with 2", "it stays so"


def test_not_even_one_fits() -> None:
    def work(size: int) -> None:
        raise torch.OutOfMemoryError(str(size))

    with pytest.raises(torch.OutOfMemoryError, match="1"):
        BatchSize(1).run(work)


def test_prediction_goes_on_with_less(
    make_predictor: MakePredictor, products: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds two photos at once."""
    predictor = make_predictor(batch_size=16)
    see = predictor._see

    def small(pixels: np.ndarray) -> object:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError
        return see(pixels)

    monkeypatch.setattr(predictor, "_see", small)
    with pytest.warns(RuntimeWarning, match="Out of memory"):
        got = predictor.predict(products)
    expected = make_predictor().predict(products)
    np.testing.assert_allclose(got.probabilities, expected.probabilities, atol=1e-5)
