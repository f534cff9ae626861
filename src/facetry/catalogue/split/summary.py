"""How even a split came out.

Shapes: N products of the catalogue, L values that are looked at, S parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split.make import value_codes
from facetry.catalogue.stratify import MIN_EXAMPLES


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """One part: what was asked for and what it got, shares from 0 to 1.

    `deviation` is how far, at worst, a value's share in this part is from the share asked for, `worst`
    that value; `num_absent` counts the values that are not in this part. Looked at are values with at
    least `MIN_EXAMPLES` examples.
    """

    name: str
    asked: float
    share: float
    num_products: int
    num_labels: int
    deviation: float
    worst: str
    num_absent: int


@dataclass(frozen=True, kw_only=True)
class GroupCounts:
    """Groups of products with like photos: all, those of several products, those that were cut."""

    num_groups: int
    num_shared: int
    num_cut: int


def summarise(
    catalogue: Catalogue, codes: NDArray[np.int8], shares: Mapping[str, float]
) -> list[PartSummary]:
    """What each part got; `codes` (N) are indices into `shares`, the share asked for of each part."""
    values, have = _count(value_codes(catalogue), codes, len(shares))
    asked, totals = np.array(list(shares.values())), have.sum(axis=1, keepdims=True)
    is_frequent = totals[:, 0] >= MIN_EXAMPLES
    deviations = np.abs(have / totals - asked) * is_frequent[:, None]  # L S
    parts = []
    for index, name in enumerate(shares):
        worst = deviations[:, index].argmax() if is_frequent.any() else None
        num_products = int((codes == index).sum())
        parts.append(
            PartSummary(
                name=name,
                asked=float(asked[index]),
                share=num_products / max(1, int((codes >= 0).sum())),
                num_products=num_products,
                num_labels=int(have[:, index].sum()),
                deviation=0.0 if worst is None else float(deviations[worst, index]),
                worst="" if worst is None else _describe(catalogue, int(values[worst])),
                num_absent=int((is_frequent & (have[:, index] == 0)).sum()) if asked[index] else 0,
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


def _count(
    values: NDArray[np.int32], codes: NDArray[np.int8], num_parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The value codes that occur (L), and the labels of each in each part (L, S)."""
    rows, slots = np.nonzero((values >= 0) & (codes >= 0)[:, None])
    known, places = np.unique(values[rows, slots], return_inverse=True)
    cells = places * num_parts + codes[rows]
    counts = np.bincount(cells, minlength=len(known) * num_parts)
    return known, counts.reshape(len(known), num_parts)


def _describe(catalogue: Catalogue, code: int) -> str:
    head, value = divmod(code, catalogue.taxonomy.num_values)
    found = catalogue.taxonomy.heads[head]
    return f"{found.name}: {found.values[value]}"
