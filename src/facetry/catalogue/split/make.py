"""How even a split came out.

Shapes: N products of the catalogue, L values that are looked at, S parts.

Shapes: N products of the catalogue, A slots.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split.file import PARTS, Split, SplitConfig
from facetry.catalogue.split.stratify import MIN_EXAMPLES, deal
from facetry.errors import CatalogueError
from facetry.runtime.progress import SILENT, Reporter

Groups = NDArray[np.int64]


def make_split(
    catalogue: Catalogue,
    config: SplitConfig,
    *,
    seed: int,
    groups: Groups | None = None,
    reporter: Reporter = SILENT,
) -> Split:
    """Split a catalogue.

    `groups` (N): products with the same code have like photos. Only `stratified` heeds them, and looks
    for them itself if they are not given.

    Raises:
        CatalogueError: too few products, groups or blocks for the parts asked for, or blocks of ids
            asked for where ids are not whole numbers.
    """
    seed = seed if config.seed is None else config.seed
    if config.method == "stratified":
        groups = find_groups(catalogue, reporter) if groups is None else groups
        codes = _deal(catalogue, groups, config.shares, seed)
    elif config.method == "random":
        codes = _random_codes(len(catalogue), config, seed)
    else:
        codes = _block_codes(catalogue, config, seed)
    empty = [
        part
        for code, (part, share) in enumerate(zip(PARTS, config.shares, strict=True))
        if share and not (codes == code).any()
    ]
    if empty:
        raise CatalogueError(
            f"The catalogue's {_counted(len(catalogue), 'product')} leave none for {empty[0]}.",
            hint="Ask for fewer parts: a share may be 0.",
        )
    return Split(codes, groups)


def make_folds(
    catalogue: Catalogue,
    num_folds: int,
    *,
    seed: int,
    groups: Groups | None = None,
    reporter: Reporter = SILENT,
) -> NDArray[np.int8]:
    """The fold of each product (N), 0 to `num_folds` - 1, all of one size; stratified and grouped.

    `groups` (N): products with the same code go to the same fold; None looks for like photos.

    Raises:
        CatalogueError: fewer groups than folds.
    """
    groups = find_groups(catalogue, reporter) if groups is None else groups
    return _deal(catalogue, groups, [1 / num_folds] * num_folds, seed)


def find_groups(catalogue: Catalogue, reporter: Reporter = SILENT) -> Groups:
    """Which products have like photos (N): those with the same code.

    Without a photo folder each product is its own group, and the reporter says so.
    """
    if catalogue.source.images is None:
        reporter.say("No photo folder: every product is taken to be unlike the others.")
        return np.arange(len(catalogue))
    from facetry.catalogue.duplicates.find import duplicate_groups

    return duplicate_groups(catalogue, reporter=reporter)


def value_codes(catalogue: Catalogue) -> NDArray[np.int32]:
    """Each known label as head * V + value, V being the most values a head has (N, A); -1 for none."""
    heads, labels = catalogue.heads.astype(np.int32), catalogue.labels
    is_known = (heads >= 0) & (labels >= 0)
    return np.where(is_known, heads * catalogue.taxonomy.num_values + labels, -1)


def _deal(
    catalogue: Catalogue, groups: Groups, shares: tuple[float, ...] | list[float], seed: int
) -> NDArray[np.int8]:
    """Deal values and categories. The order of rows does not matter, as they are dealt by their ids."""
    num_groups, num_sides = len(np.unique(groups)), np.count_nonzero(shares)
    if num_groups < num_sides:
        raise CatalogueError(
            f"For {num_sides} parts a catalogue needs at least {num_sides} groups of like photos; this "
            f"one has {num_groups} ({_counted(len(catalogue), 'product')}).",
            hint="Ask for fewer parts (a share may be 0), or use the method random.",
        )
    taxonomy, categories = catalogue.taxonomy, catalogue.category_codes[:, None]
    others = np.where(categories >= 0, taxonomy.num_heads * taxonomy.num_values + categories, -1)
    labels = np.hstack([value_codes(catalogue), others.astype(np.int32)])
    order = catalogue.table.select("id").with_row_index("place").sort("id", "place")["place"].to_numpy()
    codes = np.empty(len(catalogue), dtype=np.int8)
    codes[order] = deal(labels[order], groups[order], shares, seed=seed)
    return codes


def _random_codes(num_products: int, config: SplitConfig, seed: int) -> NDArray[np.int8]:
    codes = np.zeros(num_products, dtype=np.int8)
    # RandomState: a split must be the same in every version of numpy, which default_rng is not.
    order = np.random.RandomState(seed).permutation(num_products)
    num_validation, num_test = (
        max(bool(share), round(num_products * share)) for share in (config.validation, config.test)
    )
    codes[order[:num_validation]] = PARTS.index("validation")
    codes[order[num_validation : num_validation + num_test]] = PARTS.index("test")
    return codes


def _block_codes(catalogue: Catalogue, config: SplitConfig, seed: int) -> NDArray[np.int8]:
    ids = catalogue.table["id"]
    if not ids.dtype.is_integer():
        raise CatalogueError(
            "split.method id_blocks needs whole numbers as ids.",
            hint="Use 'stratified', or --split FILE.",
        )
    blocks = ids.to_numpy() // config.block_size
    known = np.unique(blocks)
    order = np.random.RandomState(seed).permutation(known)
    num_validation, num_test = (
        math.floor(len(known) * share + 1e-9) for share in (config.validation, config.test)
    )
    if (config.validation and not num_validation) or (config.test and not num_test):
        raise CatalogueError(
            f"{len(known)} blocks of {config.block_size} ids are too few to split as asked.",
            hint="Lower split.block_size, or use split.method stratified.",
        )
    parts = np.split(order, [num_validation, num_validation + num_test])
    return np.select([np.isin(blocks, parts[0]), np.isin(blocks, parts[1])], [1, 2], 0).astype(np.int8)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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
