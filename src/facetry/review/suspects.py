"""Labels of a table that are likely wrong: found by an audit, or by the model that predicted the table.

Shapes: K labels of one head.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from facetry.audit.folder import wrong_labels
from facetry.audit.noise import likely_wrong
from facetry.review.recorder import Recorded
from facetry.review.store.arrangement import KnownCell
from facetry.taxonomy import Taxonomy

Suspect = tuple[KnownCell, float]
"""A cell whose label is likely wrong, and the label's probability: the lower, the likelier."""


def by_audit(folder: Path, known: Sequence[KnownCell], taxonomy: Taxonomy) -> Iterator[Suspect]:
    """Those that an audit found, and that the table still has.

    Raises:
        SettingError: the folder has no audit.
    """
    found = {tuple(label): score for *label, score in wrong_labels(folder).iter_rows()}
    for each in known:
        score = found.get((each.product_id, taxonomy.heads[each.head].attribute, each.known))
        if score is not None:
            yield each, float(score)


def by_model(
    recorded: Recorded, known: Sequence[KnownCell], taxonomy: Taxonomy, learned: Collection[str]
) -> Iterator[Suspect]:
    """Those of products that the model has not learned from, by its own probabilities.

    Each head is judged as an audit judges it: see `audit.noise`.
    """
    by_head: dict[int, list[KnownCell]] = {}
    for each in known:
        if each.product_id in recorded.rows and each.product_id not in learned:
            by_head.setdefault(each.head, []).append(each)
    for head, cells in by_head.items():
        category = taxonomy.heads[head].category
        slot = head - taxonomy.head_indices(category).start
        rows = [recorded.rows[each.product_id] for each in cells]
        scores = recorded.unsure.of_label[rows, slot].astype(np.float64)  # K
        counts = {
            value: sum(each.known == value for each in cells) for value in {c.known for c in cells}
        }
        differs = np.array([each.known != each.predicted for each in cells])
        num_alike = np.array([counts[each.known] for each in cells])
        for at in np.flatnonzero(likely_wrong(differs, scores, num_alike)).tolist():
            yield cells[at], float(scores[at])
