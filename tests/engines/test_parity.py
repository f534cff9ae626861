"""The gate: what it measures, what it lets through, and what it shows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from rich.console import Console

from facetry.engines.parity import (
    Parity,
    compare_answers,
    parity_json,
    parity_table,
    require_parity,
)
from facetry.errors import ExportError
from facetry.predictions import Predictions
from facetry.predictors.ensemble import Ensemble
from facetry.product import Preprocess, Product
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["solid", "zari"], "colour": ["blue", "green", "red"]},
        "Tops": {"neck": ["round", "v"]},
    }
)
FINE = Parity(
    name="model",
    num_products=200,
    num_answers=1000,
    agreement=1.0,
    mean_difference=0.0,
    largest_difference=0.0,
    num_labels=900,
    score=0.5,
    exported_score=0.5,
)


@dataclass(frozen=True)
class Steady:
    """Answers every product with the same value of each head, one of them otherwise."""

    value: int
    odd: str = ""
    odd_value: int = 0
    certainty: float = 0.75
    taxonomy: Taxonomy = TAXONOMY
    preprocesses: tuple[Preprocess, ...] = ()

    def predict(self, products: Sequence[Product]) -> Predictions:
        mask = TAXONOMY.value_mask[TAXONOMY.encode_categories([each.category for each in products])]
        probabilities = np.zeros(mask.shape, np.float32)
        for row, product in enumerate(products):
            top = self.odd_value if product.id == self.odd else self.value
            for slot in np.flatnonzero(mask[row].any(axis=1)):
                others = (1 - self.certainty) / (mask[row, slot].sum() - 1)
                probabilities[row, slot, mask[row, slot]] = others
                probabilities[row, slot, top] = self.certainty
        return Predictions.of(TAXONOMY, products, probabilities)


def product(name: str, category: str = "Sarees", **labels: str) -> Product:
    return Product(id=name, category=category, labels=labels)


FOUR = [
    product("a", border="solid", colour="blue"),
    product("b", border="zari"),
    product("c", "Tops", neck="round"),
    product("d", "Tops"),
]


def test_each_row_counts_answers_and_measures_their_differences() -> None:
    (row,) = compare_answers(Steady(0), Steady(0, odd="a", odd_value=1), [FOUR[:3], FOUR[3:]], name="m")
    assert (row.name, row.num_products, row.num_answers, row.num_labels) == ("m", 4, 6, 4)
    assert row.agreement == pytest.approx(4 / 6)
    assert row.largest_difference == pytest.approx(0.625)  # 0.75 against 0.125, of three values
    # Two of (2 + 3) * 2 + 2 * 2 probabilities are 0.5 apart, two others 0.625.
    assert row.mean_difference == pytest.approx((2 * 0.5 + 2 * 0.625) / 14)
    assert row.score > row.exported_score
    assert row.fall == row.score - row.exported_score


def test_equal_answers_do_not_differ() -> None:
    (row,) = compare_answers(Steady(1), Steady(1), [FOUR], name="m")
    assert (row.agreement, row.mean_difference, row.largest_difference, row.fall) == (1, 0, 0, 0)


def test_an_ensemble_has_a_row_for_each_member_and_the_last_for_the_whole() -> None:
    inner = Ensemble({"x": Steady(0), "y": Steady(0)})
    whole = Ensemble({"one": Steady(0), "two": inner}, {"one": 0.9, "two": 0.1})
    changed = Ensemble({"x": Steady(0), "y": Steady(1)})
    other = Ensemble({"one": Steady(0), "two": changed}, whole.weights)
    rows = {row.name: row for row in compare_answers(whole, other, [FOUR], name="m")}
    assert list(rows) == ["one", "two/x", "two/y", "two", "m"]
    assert [rows[name].agreement for name in ("one", "two/x", "two/y", "m")] == [1, 1, 0, 1]
    assert 0 < rows["m"].largest_difference < rows["two/y"].largest_difference


@pytest.mark.parametrize(
    ("changes", "is_int8", "message"),
    [
        ({}, False, ""),
        ({}, True, ""),
        ({"agreement": 0.999}, False, ""),
        ({"agreement": 0.9989}, False, r"99\.89% of its answers agree, and 99\.9% is required"),
        ({"agreement": 0.9}, True, ""),
        ({"agreement": float("nan")}, False, "agree"),
        ({"exported_score": 0.4951}, True, ""),
        ({"exported_score": 0.6}, True, ""),
        ({"exported_score": 0.494}, True, r"falls by 0\.0060, and 0\.005 is allowed"),
        ({"exported_score": 0.494}, False, ""),
        ({"num_products": 199}, False, r"at least 200 .* there are 199"),
        ({"num_products": 199}, True, r"at least 200 .* there are 199"),
        ({"num_labels": 0, "score": float("nan"), "exported_score": float("nan")}, False, ""),
        ({"num_labels": 0, "score": float("nan"), "exported_score": float("nan")}, True, "has a label"),
    ],
)
def test_the_verdict(changes: dict[str, float], is_int8: bool, message: str) -> None:
    rows = [replace(FINE, **changes)]  # type: ignore[arg-type]
    if not message:
        require_parity(rows, is_int8=is_int8)
        return
    with pytest.raises(ExportError, match=message) as caught:
        require_parity(rows, is_int8=is_int8)
    assert caught.value.hint


def test_one_member_that_fails_is_enough() -> None:
    rows = [FINE, replace(FINE, name="model/b", agreement=0.5), replace(FINE, name="model")]
    with pytest.raises(ExportError, match=r"of model/b, 50\.00%"):
        require_parity(rows, is_int8=False)


def test_the_table_fits_100_columns_and_takes_names_as_they_are() -> None:
    rows = [replace(FINE, name="a[/b]" * 6, agreement=0.5, num_answers=1_234_567), FINE]
    out = io.StringIO()
    Console(file=out, width=100).print(parity_table(rows, is_int8=False))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    for part in ("a[/b]", "1,234,567", "50.00%", "refused", "passed", "200 products", "99.9% agreement"):
        assert part in text
    unlabelled = replace(FINE, score=float("nan"), exported_score=float("nan"))
    Console(file=out, width=100).print(parity_table([unlabelled], is_int8=True))
    assert "0.005" in out.getvalue()
    assert "nan" not in out.getvalue()


def test_json_holds_no_nan() -> None:
    (row,) = parity_json([replace(FINE, score=float("nan"))])
    assert (row["score"], row["agreement"], row["name"]) == (None, 1.0, "model")
