"""Pools are formed by counts of labels alone; promises say what would be enough."""

from dataclasses import replace

import numpy as np
import pytest

from facetry.confidence.pools import best_target, make_pools, promise_all
from facetry.confidence.promises import make_promises
from facetry.errors import CalibrationError
from tests.confidence.cells import TAXONOMY, make_evidence


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([200] * 9, [("head", 1)] * 9),
        ([50] * 9, [("category", 3)] * 3),
        ([10] * 9, [("catalogue", 9)]),
        ([200, 60, 60, 10, 10, 10, 0, 0, 0], [("head", 1), ("category", 2), ("catalogue", 6)]),
    ],
)
def test_levels_follow_from_counts(counts: list[int], expected: list[tuple[str, int]]) -> None:
    pools = make_pools(TAXONOMY, np.array(counts), 118)
    assert [(pool.level, len(pool.heads)) for pool in pools] == expected
    assert sorted(head for pool in pools for head in pool.heads) == list(range(9))


def test_many_cells_of_few_products_promise_nothing() -> None:
    heads = np.repeat(np.arange(9), 40)
    evidence = make_evidence(np.full(len(heads), 0.9), np.ones(len(heads), dtype=bool), heads)
    assert all(each.threshold for each in promise_all(TAXONOMY, evidence, 0.95))
    few = replace(evidence, groups=np.tile(np.arange(40), 9))
    assert not any(each.threshold for each in promise_all(TAXONOMY, few, 0.95))
    assert best_target(TAXONOMY, few)[0] == 0.92  # 36 labels without an error would do


def test_promises_of_all_heads() -> None:
    heads = np.repeat(np.arange(9), 130)
    rng = np.random.default_rng(0)
    confidence = rng.random(len(heads)) * 0.5 + 0.5
    is_right = (heads < 3) | (rng.random(len(heads)) < confidence - 0.2)
    promises = promise_all(TAXONOMY, make_evidence(confidence, is_right, heads), 0.95)
    assert [promise.pool.heads for promise in promises] == [(head,) for head in range(9)]
    assert [promise.threshold is not None for promise in promises] == [True] * 3 + [False] * 6
    simultaneous = promise_all(
        TAXONOMY, make_evidence(confidence, is_right, heads), 0.95, is_simultaneous=True
    )
    assert {promise.pool.level for promise in simultaneous} == {"category"}
    assert simultaneous[0].delta == pytest.approx(0.05 / 9)


def test_how_many_labels_are_missing() -> None:
    """With sure cells a pool lacks some labels; without, no number of labels would do."""
    sure = make_evidence(np.full(40, 0.999), np.ones(40, dtype=bool))
    (promise,) = promise_all(TAXONOMY, sure, 0.95)
    assert promise.threshold is None
    assert promise.num_missing == 59 - 40
    unsure = make_evidence(np.full(400, 0.6), np.arange(400) % 2 == 0)
    (promise, *_) = promise_all(TAXONOMY, unsure, 0.95)
    assert promise.num_missing is None


def test_the_best_that_can_be_promised() -> None:
    confidence = np.linspace(0.7, 1, 1000)
    is_right = np.arange(1000) % 10 != 0
    found = best_target(TAXONOMY, make_evidence(confidence, is_right))
    assert found is not None
    assert (found[0], found[1].name) == (0.86, "Sarees / attribute 0")
    assert best_target(TAXONOMY, make_evidence(confidence[:5], is_right[:5])) is None


@pytest.mark.parametrize("is_simultaneous", [False, True])
def test_what_is_said_to_be_the_best_can_be_asked_for(is_simultaneous: bool) -> None:
    rng = np.random.default_rng(0)
    heads = np.repeat(np.arange(TAXONOMY.num_heads), 60)
    confidence = rng.random(len(heads))
    evidence = make_evidence(confidence, rng.random(len(heads)) < 0.6 + 0.3 * confidence, heads)
    promises = make_promises(evidence, TAXONOMY, 0.99, is_simultaneous=is_simultaneous)
    with pytest.raises(CalibrationError) as error:
        promises.require_any()
    best = float(error.value.hint.split()[2].rstrip("."))
    assert 0.5 <= best < 0.99
    assert make_promises(evidence, TAXONOMY, best, is_simultaneous=is_simultaneous).kept
