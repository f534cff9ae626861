"""Summaries of splits and folds: how even the parts are, and what cannot be learned from them.

Shapes: N products of the catalogue, A slots (attributes of the category that has most), L values that
occur, S parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split.file import Split
from facetry.catalogue.split.stratify import MIN_EXAMPLES

MAX_OFF: Final = 0.02
"""How far a part's share of the products may be from what was asked without a word about it."""

_NUM_NAMED: Final = 5


def value_codes(catalogue: Catalogue) -> NDArray[np.int32]:
    """Each known label as head * V + value, V being the most values a head has (N, A); -1 for none."""
    heads, labels = catalogue.heads.astype(np.int32), catalogue.labels
    is_known = (heads >= 0) & (labels >= 0)
    return np.where(is_known, heads * catalogue.taxonomy.num_values + labels, -1)


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """One part's size and evenness; `requested` and `share` are shares of all products, from 0 to 1.

    `deviation` is the largest difference between a value's share in this part and `requested`, `worst`
    that value; `num_absent` counts the values that are not in this part. Only values with at least
    `MIN_EXAMPLES` examples are considered.
    """

    name: str
    requested: float
    share: float
    num_products: int
    num_labels: int
    deviation: float
    worst: str
    num_absent: int


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """How many groups of near-duplicate photos: all, with several products, divided between parts."""

    num_groups: int
    num_shared: int
    num_cut: int


def summarise(
    catalogue: Catalogue, codes: NDArray[np.int8], shares: Mapping[str, float]
) -> list[PartSummary]:
    """Summarise each part; `codes` (N) are indices into the parts' requested `shares` by name."""
    values, have = _count(value_codes(catalogue), codes, len(shares))
    requested, totals = np.array(list(shares.values())), have.sum(axis=1, keepdims=True)
    is_frequent = totals[:, 0] >= MIN_EXAMPLES
    deviations = np.abs(have / totals - requested) * is_frequent[:, None]  # (L, S)
    parts = []
    for index, name in enumerate(shares):
        worst = deviations[:, index].argmax() if is_frequent.any() else None
        num_products = int((codes == index).sum())
        parts.append(
            PartSummary(
                name=name,
                requested=float(requested[index]),
                share=num_products / max(1, int((codes >= 0).sum())),
                num_products=num_products,
                num_labels=int(have[:, index].sum()),
                deviation=0.0 if worst is None else float(deviations[worst, index]),
                worst="" if worst is None else _describe(catalogue, int(values[worst])),
                num_absent=int((is_frequent & (have[:, index] == 0)).sum()) if requested[index] else 0,
            )
        )
    return parts


def count_groups(groups: NDArray[np.int64], codes: NDArray[np.int8]) -> GroupCounts:
    """Count groups (N); one is cut if its products are in several parts.

    >>> count_groups(np.array([1, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 2], dtype=np.int8))
    GroupCounts(num_groups=3, num_shared=2, num_cut=1)
    """
    _, sizes = np.unique(groups, return_counts=True)
    pairs = np.unique(np.column_stack([groups, codes]), axis=0)
    _, num_parts = np.unique(pairs[:, 0], return_counts=True)
    return GroupCounts(
        num_groups=len(sizes), num_shared=int((sizes > 1).sum()), num_cut=int((num_parts > 1).sum())
    )


def uneven_shares(
    codes: NDArray[np.integer], shares: Mapping[str, float], undivided: NDArray[np.int64], unit: str
) -> list[str]:
    """A line for each part whose share is off by more than `MAX_OFF`, which says why.

    `codes` (N) are indices into `shares`, the parts' names and asked shares; products with the same
    number in `undivided` (N) stay together, as `unit` says.

    >>> one_group = np.array([7, 7, 7, 8])
    >>> lines = uneven_shares(np.array([0, 0, 0, 1]), {"a": 0.5, "b": 0.5}, one_group, "a group")
    >>> lines[0].partition(": ")[0]
    'a has 75.0% of the products, not 50.0% as asked'
    """
    lines, num_products = [], max(1, len(codes))
    largest = int(np.unique(undivided, return_counts=True)[1].max(initial=0))
    why = f"{_counted(num_products, 'product')} cannot be divided more evenly"
    if largest > 1:
        why = f"{unit} stays in one part, and the largest has {largest:,} of {num_products:,} products"
    for code, (name, asked) in enumerate(shares.items()):
        share = float((codes == code).sum()) / num_products
        if abs(share - asked) > MAX_OFF:
            lines.append(f"{name} has {share:.1%} of the products, not {asked:.1%} as asked: {why}.")
    return lines


def unseen_values(catalogue: Catalogue, split: Split, rows: NDArray[np.int64] | None = None) -> str:
    """What says which values of `rows` the split's training part does not have; "" if it has them all.

    `rows` are to be scored; None for all outside the training part. No model can learn such a value, so
    that its answer for the product can only be wrong.
    """
    values = value_codes(catalogue)
    scored = values[split.codes > 0 if rows is None else rows]
    unseen = np.setdiff1d(scored[scored >= 0], values[split.rows("train")])
    if not len(unseen):
        return ""
    num_labels = int(np.isin(scored, unseen).sum())
    counted = f"{_counted(len(unseen), 'value')} ({_counted(num_labels, 'label')})"
    lines = [f"{counted} not in the training part: these answers can only be wrong."]
    lines += [f"  {_describe(catalogue, int(code))}" for code in unseen[:_NUM_NAMED]]
    if len(unseen) > _NUM_NAMED:
        lines.append(f"  and {len(unseen) - _NUM_NAMED:,} more")
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _count(
    values: NDArray[np.int32], codes: NDArray[np.int8], num_parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The value codes that occur (L), and the labels of each in each part (L, S)."""
    rows, slots = np.nonzero((values >= 0) & (codes >= 0)[:, None])
    known, indices = np.unique(values[rows, slots], return_inverse=True)
    bins = indices * num_parts + codes[rows]
    counts = np.bincount(bins, minlength=len(known) * num_parts)
    return known, counts.reshape(len(known), num_parts)


def _describe(catalogue: Catalogue, code: int) -> str:
    head, value = divmod(code, catalogue.taxonomy.num_values)
    described = catalogue.taxonomy.heads[head]
    return f"{described.name}: {described.values[value]}"
