"""Precision, recall and confusions of values, against counts made by hand and by scikit-learn."""

from math import isnan

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from facetry.evaluation.confusion import NO_ANSWER, NOT_LISTED, OTHERS, HeadDetails, head_details
from facetry.evaluation.metrics import Answers
from facetry.taxonomy import OFF_LIST, Taxonomy


def details(num_values: int, labels: list[int], top: list[int]) -> HeadDetails:
    """The details of a category's first head; the second one has no label."""
    values = [f"v{index:02}" for index in range(num_values)]
    taxonomy = Taxonomy.of({"Socks": {"color": values, "height": ["low", "tall"]}})
    columns = [np.array(each)[:, None].repeat(2, axis=1) for each in (labels, top)]
    columns[0][:, 1] = -1
    answers = Answers.of(taxonomy, np.zeros(len(labels), dtype=np.int64), *columns)
    (found,) = head_details(answers)
    return found


def test_figures_of_each_value() -> None:
    found = details(4, [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 1])
    assert (found.head.attribute, found.num_labels, found.num_values) == ("color", 6, 3)
    first, second, third = found.values
    assert (first.value, first.num_labels, first.num_answers) == ("v00", 3, 2)
    assert (first.precision, first.recall) == (1.0, pytest.approx(2 / 3))
    assert first.confused_with == (("v01", 1),)
    assert second.confused_with == (("v02", 2), ("v00", 1))
    assert (third.precision, third.recall) == (0.0, 0.0)


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, top = rng.integers(5, size=(2, 200))
    found = {each.value: each for each in details(5, labels.tolist(), top.tolist()).values}
    for index in range(5):
        want = [
            figure(labels == index, top == index, zero_division=np.nan)
            for figure in (precision_score, recall_score)
        ]
        each = found[f"v{index:02}"]
        assert [each.precision, each.recall] == pytest.approx(want)


def test_what_has_no_answer_or_is_not_listed_has_its_place() -> None:
    found = details(2, [0, 0, OFF_LIST], [-1, 0, 1])
    assert [each.value for each in found.values] == ["v00", NOT_LISTED, "v01"]
    assert isnan(found.values[1].precision)
    assert isnan(found.values[2].recall)
    assert found.matrix.labels == ("v00", NOT_LISTED)
    assert found.matrix.answers == ("v00", NOT_LISTED, "v01", NO_ANSWER)
    assert found.matrix.counts == ((1, 0, 0, 1), (0, 0, 1, 0))


def test_rare_values_are_one_row_of_the_matrix() -> None:
    labels = [value for value in range(30) for _ in range(30 - value)]
    found = details(30, labels, [(value + 1) % 30 for value in labels])
    assert (found.num_values, len(found.values)) == (30, 20)
    assert found.matrix.labels == (*(f"v{index:02}" for index in range(12)), OTHERS)
    assert sum(map(sum, found.matrix.counts)) == len(labels)
    assert found.matrix.counts[11][-1] == 19  # v11, answered v12
