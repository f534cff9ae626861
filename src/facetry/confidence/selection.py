"""Whether labelled products are like blank ones: a promise counts labelled cells, and blanks are filled.

Shapes: N products, A slots, D features.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_AUC: Final = 0.6
"""Above it blank products are so unlike labelled ones that a promise may not hold for them."""

MIN_PRODUCTS: Final = 20
"""The fewest labelled, and the fewest blank, products of a head that are compared."""

_NUM_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class BlankTest:
    """How well features tell a head's labelled products from its blank ones.

    `auc` is 0.5 if they cannot; `error` is its standard error.
    """

    head: int
    auc: float
    error: float
    num_labelled: int
    num_blank: int

    @property
    def is_warning(self) -> bool:
        """Whether the AUC is above `MAX_AUC` by more than its standard error."""
        return self.auc - self.error > MAX_AUC


def compare_blanks(
    heads: NDArray[np.int64],
    labels: NDArray[np.int64],
    features: NDArray[np.floating],
    groups: NDArray[np.int64],
) -> list[BlankTest]:
    """The test of each head that has labelled and blank products enough.

    `heads` (N, A) are -1 where there is none, `labels` (N, A) -1 for a blank; `groups` (N) are equal for
    products with like photos, of which one counts: the others say nothing new.
    """
    found = []
    for head in np.unique(heads[heads >= 0]):
        rows, slots = np.nonzero(heads == head)
        kept = _one_per_group(groups[rows])
        rows, slots = rows[kept], slots[kept]
        is_labelled = labels[rows, slots] != -1
        num_labelled, num_blank = int(is_labelled.sum()), int((~is_labelled).sum())
        if min(num_labelled, num_blank) < MIN_PRODUCTS:
            continue
        auc = _cross_validated_auc(features[rows], is_labelled)
        error = _standard_error(auc, num_labelled, num_blank)
        found.append(
            BlankTest(
                head=int(head), auc=auc, error=error, num_labelled=num_labelled, num_blank=num_blank
            )
        )
    return found


def _one_per_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices of some of N cells: one of each group, drawn at random."""
    order = np.random.default_rng(0).permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(order[first])


def _cross_validated_auc(features: NDArray[np.floating], is_labelled: NDArray[np.bool_]) -> float:
    """The AUC of a logistic regression on folds that it was not fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, class_weight="balanced"))
    folds = StratifiedKFold(_NUM_FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(model, features, is_labelled, cv=folds, method="decision_function")
    return float(roc_auc_score(is_labelled, scores))


def _standard_error(auc: float, num_positive: int, num_negative: int) -> float:
    """The standard error of an AUC (Hanley and McNeil 1982)."""
    both, one = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (num_positive - 1) * (both - auc**2)
    variance += (num_negative - 1) * (one - auc**2)
    return float(np.sqrt(variance / (num_positive * num_negative)))
