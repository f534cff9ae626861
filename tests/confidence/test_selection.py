"""Whether labelled products are like blank ones."""

import numpy as np
import pytest

from facetry.confidence.selection import MAX_AUC, MIN_PRODUCTS, compare_blanks

NUM = 300


def test_blanks_that_differ_are_told_from_blanks_that_do_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(NUM, 16))
    labels = np.where(rng.random((NUM, 2)) < 0.5, 0, -1)
    labels[:, 1] = np.where(features[:, 0] + 0.5 * rng.normal(size=NUM) > 0, 0, -1)
    heads = np.tile([3, 5], (NUM, 1))
    alike, unlike = compare_blanks(heads, labels, features, np.arange(NUM))
    assert (alike.head, unlike.head) == (3, 5)
    assert alike.auc == pytest.approx(0.5, abs=0.12)
    assert not alike.is_warning
    assert unlike.auc > MAX_AUC
    assert unlike.is_warning
    assert unlike.num_labelled + unlike.num_blank == NUM


@pytest.mark.parametrize("num_blank", [0, MIN_PRODUCTS - 1])
def test_few_blanks_are_not_compared(num_blank: int) -> None:
    labels = np.zeros((NUM, 1), dtype=np.int64)
    labels[:num_blank] = -1
    heads = np.zeros_like(labels)
    assert compare_blanks(heads, labels, np.ones((NUM, 2)), np.arange(NUM)) == []


@pytest.mark.parametrize("is_alike", [[True, False], [False, True], [True, True]])
def test_of_products_with_like_photos_one_is_compared(is_alike: list[bool]) -> None:
    labels = np.where(np.arange(NUM) < NUM // 2, 0, -1)[:, None]
    groups = np.where(np.repeat(is_alike, NUM // 2), -1 - labels[:, 0], np.arange(NUM))
    assert compare_blanks(np.zeros_like(labels), labels, np.ones((NUM, 2)), groups) == []
