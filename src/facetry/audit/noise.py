"""Labels that are likely wrong, by what a model says that has not seen them.

A model on frozen features is trained on all folds of the catalogue but one, and says what it takes
the labels of that one to be. cleanlab then compares this with the labels, head by head. The score is the
label's own probability, by which all heads are ranked together: on a drawn catalogue's planted mistakes
ranks, margins and ratios within heads found about as many.

Shapes: N products, D features, A slots, V values, K known labels of one head.
"""

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
"""A label is an issue where the model answers otherwise, and the label's score times the share of its
head's labels that the model answers otherwise is below this. Where the model hardly ever contradicts,
a label that it doubts is likely wrong; where it often does, the mistake is likely the model's."""

MIN_LABELS = 5
"""Values with fewer labels are ranked but not taken to be wrong: they are rare, which is no mistake."""


_JUDGED = {
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

    `features` (N, D) are 0 or NaN for a product without any; its labels are not judged, nor are
    those of a head in which fewer than two values occur. Products of one of the `groups` (N) stay in
    one fold, so that no copy tells the model what a label is. With a `folder` finished folds are
    kept there, and a second call with the same arguments goes on.

    The columns: row (of the catalogue's table, from 0), id, category, attribute, label, suggested
    (the value with the largest probability, which may be the label), score (the label's probability,
    0 to 1) and is_issue.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    try:
        import cleanlab  # noqa: F401 - better now than after the training
    except ImportError as error:
        raise MissingExtra("Looking for wrong labels", "audit") from error
    from facetry.training.stored_features import out_of_fold

    folds = _folds(catalogue, features, groups, seed)
    predicted = out_of_fold(catalogue, features, folds, seed=seed, folder=folder, reporter=reporter)
    rows, slots = np.nonzero((catalogue.labels >= 0) & predicted.any(axis=2))
    heads, labels = catalogue.heads[rows, slots], catalogue.labels[rows, slots]
    parts = [pl.DataFrame(schema=_JUDGED)]
    for head in np.unique(heads).tolist():
        places = np.flatnonzero(heads == head)
        if len(np.unique(labels[places])) > 1:
            chances = predicted[rows[places], slots[places]]
            parts.append(_judge(catalogue.taxonomy.heads[head], rows[places], labels[places], chances))
    ids = catalogue.table.select(pl.int_range(pl.len()).alias("row"), "id")
    named = pl.concat(parts).join(ids, on="row", how="left", maintain_order="left")
    return named.select("row", "id", pl.exclude("row", "id")).sort(["score", "row", "attribute"])


def _folds(
    catalogue: Catalogue, features: NDArray[np.float32], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int8]:
    """The fold of each product (N), -1 for one that cannot be learned from."""
    is_known = (catalogue.category_codes >= 0) & (catalogue.labels >= 0).any(axis=1)
    is_used = is_known & features.any(axis=1) & np.isfinite(features).all(axis=1)
    num_folds = min(NUM_FOLDS, len(np.unique(groups[is_used])))
    if num_folds < 2:
        return np.full(len(catalogue), -1, dtype=np.int8)
    folds = make_folds(catalogue, num_folds, seed=seed, groups=groups)
    return np.where(is_used, folds, -1).astype(np.int8)


def _judge(
    head: Head, rows: NDArray[np.int64], labels: NDArray[np.integer], predicted: NDArray[np.float32]
) -> pl.DataFrame:
    """The table's part on the labels (K) of one head, whose probabilities are (K, V)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # Only values that occur as a label: one that nobody uses cannot be mistaken for another.
    values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chances = predicted[:, values].astype(np.float64) + 1e-12
    chances /= chances.sum(axis=1, keepdims=True)
    scores = get_label_quality_scores(codes, chances, method="self_confidence")
    suggested = chances.argmax(axis=1)
    # The stricter filters passed over half of ten like mistakes: the plainest one is taken and
    # narrowed down by what follows.
    differs = find_label_issues(codes, chances, filter_by="predicted_neq_given", n_jobs=1)
    is_issue = differs & (scores * differs.mean() < MAX_PRODUCT) & (counts[codes] >= MIN_LABELS)
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
    return pl.DataFrame(columns, schema=_JUDGED)
