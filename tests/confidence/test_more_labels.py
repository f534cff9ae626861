"""What more labels would buy."""

import numpy as np
import pytest

from facetry.confidence.more_labels import LEAST, Bought, more_labels
from facetry.confidence.promises import Promises, make_promises
from tests.confidence.cells import TAXONOMY, make_evidence


def promises(num_labels: int, *, right: float = 1.0) -> Promises:
    """Of the first head alone; so many labels at even steps of confidence, the surest of them right."""
    sure = np.linspace(0, 1, num_labels)
    evidence = make_evidence(sure, sure >= 1 - right, np.zeros(num_labels, dtype=np.int64))
    return make_promises(evidence, TAXONOMY, 0.95)


CELLS = np.linspace(0, 1, 1000)


def test_labels_that_are_always_right_soon_promise_all() -> None:
    found = more_labels(promises(40), 0, CELLS)
    assert found is not None
    assert found.low <= found.expected <= found.high
    assert found.expected > 0.9  # 140 labels, all of them right, where 59 are enough


def test_labels_that_are_never_right_buy_nothing() -> None:
    assert more_labels(promises(40, right=0), 0, CELLS) == Bought(expected=0.0, low=0.0, high=0.0)


def test_no_more_is_filled_than_is_right() -> None:
    found = more_labels(promises(300, right=0.5), 0, CELLS)
    assert found is not None
    assert 0.4 < found.expected < 0.56


def test_the_same_seed_gives_the_same() -> None:
    own = promises(100, right=0.5)
    assert more_labels(own, 0, CELLS) == more_labels(own, 0, CELLS)


@pytest.mark.parametrize(("num_labels", "head"), [(LEAST - 1, 0), (40, 1)])
def test_too_few_labels_say_nothing(num_labels: int, head: int) -> None:
    assert more_labels(promises(num_labels), head, CELLS) is None


def test_without_cells_there_is_nothing_to_buy() -> None:
    assert more_labels(promises(40), 0, np.empty(0)) is None
