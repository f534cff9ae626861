"""Find labels that are likely wrong, by the out-of-fold predictions of a model.

A model on frozen features is trained on all folds of the catalogue but one and predicts the labels of
that one. cleanlab then compares predictions and labels, head by head. The score is the label's own
probability, by which the labels of all heads are ranked together: ranks, margins and ratios within heads
found about as many of the mistakes planted in a drawn catalogue.

Shapes: N products, D features, A slots, V values, K known labels of one head.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import make_folds
from facetry.errors import MissingExtra
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import Head

NUM_FOLDS = 5

MAX_PRODUCT = 0.003
"""A label is an issue if the model predicts another value, and the label's score times the share of its
head's labels for which the model does so is below this. If the model rarely disagrees with a head's
labels, a label that it disagrees with is likely wrong; else the mistake is likely the model's."""

MIN_LABELS = 5
"""Values with fewer labels are ranked but never an issue: being rare is no sign of a mistake."""


_RANKING = {
    "row": pl.Int64,
    "category": pl.String,
    "attribute": pl.String,
    "label": pl.String,
    "suggested": pl.String,
    "score": pl.Float64,
    "is_issue": pl.Boolean,
}


def find_label_noise(
    catalogue: Catalogue,
    features: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
    folder: Path | None = None,
    reporter: Reporter = SILENT,
) -> pl.DataFrame:
    """Rank the known labels by how likely they are wrong, most suspicious first.

    `features` (N, D) are 0 or NaN for a product without any; its labels are left out, as are
    those of a head in which fewer than two values occur. Products of one of the `groups` (N) are in
    one fold, so that the model is not trained on a copy of what it predicts. With a `folder` finished
    folds are stored there, and a second call with the same arguments resumes the work.

    The columns: row (of the catalogue's table, from 0), id, category, attribute, label, suggested
    (the value with the largest probability, which may be the label), score (the label's probability,
    0 to 1) and is_issue.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    try:
        import cleanlab  # noqa: F401 - fail before the training rather than after it
    except ImportError as error:
        raise MissingExtra("Looking for wrong labels", "audit") from error
    from facetry.training.stored_features import SMALL, out_of_fold

    folds = _folds(catalogue, features, groups, seed)
    fitting = replace(SMALL, seed=seed)
    predicted = out_of_fold(catalogue, features, folds, fitting, folder=folder, reporter=reporter)
    rows, slots = np.nonzero((catalogue.labels >= 0) & predicted.any(axis=2))
    heads, labels = catalogue.heads[rows, slots], catalogue.labels[rows, slots]
    parts = [pl.DataFrame(schema=_RANKING)]
    for head in np.unique(heads).tolist():
        own = np.flatnonzero(heads == head)  # K
        if len(np.unique(labels[own])) > 1:
            probabilities = predicted[rows[own], slots[own]]
            parts.append(_rank(catalogue.taxonomy.heads[head], rows[own], labels[own], probabilities))
    ids = catalogue.table.select(pl.int_range(pl.len()).alias("row"), "id")
    named = pl.concat(parts).join(ids, on="row", how="left", maintain_order="left")
    return named.select("row", "id", pl.exclude("row", "id")).sort(["score", "row", "attribute"])


def _folds(
    catalogue: Catalogue, features: NDArray[np.float32], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int8]:
    """The fold of each product (N), -1 for one without features or labels."""
    is_known = (catalogue.category_codes >= 0) & (catalogue.labels >= 0).any(axis=1)
    is_used = is_known & features.any(axis=1) & np.isfinite(features).all(axis=1)
    num_folds = min(NUM_FOLDS, len(np.unique(groups[is_used])))
    if num_folds < 2:
        return np.full(len(catalogue), -1, dtype=np.int8)
    folds = make_folds(catalogue, num_folds, seed=seed, groups=groups)
    return np.where(is_used, folds, -1).astype(np.int8)


def _rank(
    head: Head, rows: NDArray[np.int64], labels: NDArray[np.integer], predicted: NDArray[np.float32]
) -> pl.DataFrame:
    """The rows for the labels (K) of one head, with its predicted probabilities (K, V)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # Only values that occur as labels: a value that is never used cannot be confused with another.
    values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    probabilities = predicted[:, values].astype(np.float64) + 1e-12
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    scores = get_label_quality_scores(codes, probabilities, method="self_confidence")
    suggested = probabilities.argmax(axis=1)
    # The stricter filters missed half of ten similar mistakes: the simplest one is used, and narrowed
    # down in the next line.
    differs = find_label_issues(codes, probabilities, filter_by="predicted_neq_given", n_jobs=1)
    is_issue = likely_wrong(differs, scores, counts[codes])
    names = np.array(head.values, dtype=object)
    columns = {
        "row": rows,
        "category": [head.category] * len(rows),
        "attribute": [head.attribute] * len(rows),
        "label": names[labels],
        "suggested": names[values[suggested]],
        "score": scores,
        "is_issue": is_issue,
    }
    return pl.DataFrame(columns, schema=_RANKING)


def likely_wrong(
    differs: NDArray[np.bool_], scores: NDArray[np.floating], num_alike: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Which labels of a head (K) are likely wrong.

    `differs` (K) says where a model that has not learned from them predicts another value, `scores` (K)
    are the labels' own probabilities, `num_alike` (K) counts the labels of the same value.
    """
    is_wrong: NDArray[np.bool_] = scores * differs.mean() < MAX_PRODUCT
    return differs & is_wrong & (num_alike >= MIN_LABELS)
