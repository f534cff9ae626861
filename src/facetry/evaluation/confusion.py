"""How each value of each head was answered: precision, recall, and what it was confused with.

Shapes: V values of a head, one more for labels that the taxonomy does not list; one more column for "no
answer".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.evaluation.metrics import Answers
from facetry.taxonomy import Head

NOT_LISTED: Final = "a value not listed"
NO_ANSWER: Final = "no answer"
OTHERS: Final = "all others"

_MOST_HEADS = 100  # those with the most labels
_MOST_VALUES = 20  # of a head, one by one
_MOST_IN_MATRIX = 12
_MOST_CONFUSED = 3

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueScore:
    """One value's figures; NaN without an answer (precision) or a label (recall).

    `confused_with` has the values that were answered for it or the other way round, with how often, the
    most frequent first.
    """

    value: str
    num_labels: int
    num_answers: int
    precision: float
    recall: float
    confused_with: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """How often each label (a row) got each answer (a column); rare values are one row and column."""

    labels: tuple[str, ...]
    answers: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadDetails:
    """One head's values, the most frequent labels first; `num_values` occur in all."""

    head: Head
    num_labels: int
    num_values: int
    values: tuple[ValueScore, ...]
    matrix: Matrix


def head_details(answers: Answers) -> list[HeadDetails]:
    """The details of the heads that have labels, in the taxonomy's order; those of very many are cut."""
    num_labels = np.bincount(answers.heads, minlength=answers.taxonomy.num_heads)
    largest = np.argsort(-num_labels, kind="stable")[:_MOST_HEADS]
    counts = answers.counts
    return [
        _details(answers.taxonomy.heads[index], counts[index])
        for index in sorted(largest.tolist())
        if num_labels[index]
    ]


def _details(head: Head, counts: Counts) -> HeadDetails:
    """The details of one head from its confusion matrix (V, V + 1)."""
    labelled, answered = counts.sum(axis=1), counts.sum(axis=0)[:-1]
    order = np.lexsort((-answered, -labelled))
    occurring = [int(each) for each in order if labelled[each] + answered[each]]
    names = [*head.values, *[""] * (len(counts) - 1 - len(head.values)), NOT_LISTED]
    return HeadDetails(
        head=head,
        num_labels=int(labelled.sum()),
        num_values=len(occurring),
        values=tuple(_value_score(names, counts, index) for index in occurring[:_MOST_VALUES]),
        matrix=_matrix(names, counts, occurring),
    )


def _value_score(names: Sequence[str], counts: Counts, index: int) -> ValueScore:
    num_labels, num_answers = int(counts[index].sum()), int(counts[:, index].sum())
    hits = int(counts[index, index])
    mixed = counts[index, :-1] + counts[:, index]
    mixed[index] = 0
    worst = np.argsort(-mixed, kind="stable")[:_MOST_CONFUSED]
    return ValueScore(
        value=names[index],
        num_labels=num_labels,
        num_answers=num_answers,
        precision=hits / num_answers if num_answers else nan,
        recall=hits / num_labels if num_labels else nan,
        confused_with=tuple((names[each], int(mixed[each])) for each in worst if mixed[each]),
    )


def _matrix(names: Sequence[str], counts: Counts, occurring: Sequence[int]) -> Matrix:
    """The counts of the most frequent values; the others are added up, and empty rows left out."""
    shown, rest = list(occurring[:_MOST_IN_MATRIX]), list(occurring[_MOST_IN_MATRIX:])
    groups = [*([each] for each in shown), rest]
    columns = [*groups, [len(counts)]]
    titles = [*(names[each] for each in shown), OTHERS]
    table = np.array([[counts[np.ix_(row, column)].sum() for column in columns] for row in groups])
    rows = [index for index in range(len(groups)) if table[index].any()]
    kept = [index for index in range(len(columns)) if index < len(shown) or table[:, index].any()]
    return Matrix(
        labels=tuple(titles[index] for index in rows),
        answers=tuple([*titles, NO_ANSWER][index] for index in kept),
        counts=tuple(tuple(int(table[row, column]) for column in kept) for row in rows),
    )
