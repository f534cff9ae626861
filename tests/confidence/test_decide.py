"""Decisions: what is filled, what a person is asked, and what both look like as tables."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from facetry.confidence.decide import MAX_SHOWN, MISS_RATE, Rules, decide, make_rules
from facetry.confidence.pools import promise_all
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.taxonomy import Taxonomy
from tests.confidence.cells import draw_cells

TAXONOMY = Taxonomy.of(
    {"Sarees": {"border": [f"b{index}" for index in range(8)], "wash": ["hand", "machine"]}}
)
NUM_VALUES = 8


def predicted(rows: Sequence[tuple[Sequence[float], float]], problem: str = "") -> Predictions:
    """Predictions of products: the leading probabilities of "border", and that of "hand"."""
    products = [Product(id=index, category="Sarees", problem=problem) for index in range(len(rows))]
    probabilities = np.zeros((len(rows), 2, NUM_VALUES), dtype=np.float32)
    for row, (border, hand) in enumerate(rows):
        rest = (1 - sum(border)) / (NUM_VALUES - len(border))
        probabilities[row, 0] = [*border, *[rest] * (NUM_VALUES - len(border))]
        probabilities[row, 1, :2] = hand, 1 - hand
    return Predictions.of(TAXONOMY, products, probabilities)


def rules(fill_from: float, alternative_from: float) -> Rules:
    return Rules(
        fill_from=np.full(2, fill_from, dtype=np.float32),
        alternative_from=np.full(2, alternative_from, dtype=np.float32),
    )


@pytest.mark.parametrize(
    ("border", "expected", "alternatives"),
    [
        ([0.9], "fill", ["b0"]),
        ([0.5, 0.3, 0.05], "review", ["b0", "b1"]),
        ([0.3, 0.5], "review", ["b1", "b0"]),  # the most probable first
        ([0.2, 0.2, 0.2, 0.2, 0.1, 0.1], "abstain", None),  # more than can be shown
    ],
)
def test_what_to_do_with_a_cell(
    border: list[float], expected: str, alternatives: list[str] | None
) -> None:
    long = decide(predicted([(border, 0.6)]), rules(0.8, 0.1)).to_long()
    cell = long.filter(attribute="border").row(0, named=True)
    assert cell["action"] == expected
    if alternatives:
        assert cell["alternatives"] == alternatives
    else:
        assert len(cell["alternatives"]) > MAX_SHOWN


def test_all_of_two_values_are_something_to_choose_from() -> None:
    long = decide(predicted([([0.9], 0.6)]), rules(0.8, 0.1)).to_long()
    cell = long.filter(attribute="wash").row(0, named=True)
    assert (cell["action"], cell["alternatives"]) == ("review", ["hand", "machine"])


def test_a_product_with_a_reason_is_not_filled() -> None:
    decided = decide(predicted([([0.9], 0.9), ([0.9], 0.9)]), rules(0.8, 0.1), ["", "odd"])
    long = decided.to_long()
    assert long["action"].to_list() == ["fill", "fill", "review", "review"]
    assert long["reason"].to_list() == [None, None, "odd", "odd"]


def test_nothing_is_decided_about_what_was_not_predicted() -> None:
    decided = decide(predicted([([0.9], 0.9)], problem="not an image"), rules(0.8, 0.1))
    assert decided.decisions is not None
    assert (decided.decisions.actions == -1).all()
    joined = Predictions.concatenate([decided, decide(predicted([([0.9], 0.9)]), rules(0.8, 0.1))])
    assert joined.to_long()["action"].to_list() == ["fill", "fill"]


def test_a_table_of_products_has_the_decisions_beside_the_values() -> None:
    table = decide(predicted([([0.9], 0.6)]), rules(0.8, 0.1)).to_table()
    assert table.select(pl.selectors.starts_with("border")).row(0, named=True) == {
        "border": "b0",
        "border_confidence": pytest.approx(0.9),
        "border_action": "fill",
        "border_alternatives": ["b0"],
        "border_reason": None,
    }
    assert "border_action" not in predicted([([0.9], 0.6)]).to_table().columns


def test_alternatives_miss_as_few_labels_as_they_may() -> None:
    """On other cells of the same kind below the threshold."""
    cells = draw_cells(6000)
    taxonomy = cells.taxonomy
    known, other = cells.take(np.arange(3000)), cells.take(np.arange(3000, 6000)).evidence()
    evidence = known.evidence()
    promises = promise_all(taxonomy, evidence, 0.9)
    found = make_rules(taxonomy, promises, evidence)
    left = other.confidence < found.fill_from[other.heads]
    is_missed = other.of_label < found.alternative_from[other.heads]
    assert 200 < left.sum() < 3000
    assert is_missed[left].mean() == pytest.approx(MISS_RATE, abs=0.03)
