"""Make splits and folds of a catalogue, and summarise how evenly the parts came out.

Shapes: N products of the catalogue, A slots (attributes of the category that has most), L values that
occur, S parts.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split.file import PARTS, Split, SplitConfig
from facetry.catalogue.split.stratify import MIN_EXAMPLES, stratify
from facetry.errors import CatalogueError
from facetry.runtime.extras import require
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

    `groups` (N): products with the same code have the same or near-duplicate photos. Only the method
    `stratified` uses them, and finds them itself if they are not given.

    Raises:
        CatalogueError: too few products, groups or blocks for the parts, or the method is `id_blocks`
            and ids are not whole numbers.
    """
    seed = seed if config.seed is None else config.seed
    if config.method == "stratified":
        groups = find_groups(catalogue, reporter) if groups is None else groups
        codes = _stratified_codes(catalogue, groups, config.shares, seed)
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
    """The fold of each product (N), 0 to `num_folds` - 1, of equal size; stratified and grouped.

    `groups` (N): products with the same code go to the same fold; None groups near-duplicate photos.

    Raises:
        CatalogueError: fewer groups than folds.
    """
    if groups is None:
        groups = find_groups(catalogue, reporter)
    return _stratified_codes(catalogue, groups, [1 / num_folds] * num_folds, seed)


def find_groups(catalogue: Catalogue, reporter: Reporter = SILENT) -> Groups:
    """Equal codes (N) for products with the same or near-duplicate photos.

    Without a photo folder each product is a group of its own, and the reporter says so.
    """
    if catalogue.source.images is None:
        reporter.say("No photo folder: products are not grouped by near-duplicate photos.")
        return np.arange(len(catalogue))
    require("Looking for similar photos", "faiss", "imagehash")
    from facetry.catalogue.duplicates.find import duplicate_groups

    return duplicate_groups(catalogue, reporter=reporter)


def value_codes(catalogue: Catalogue) -> NDArray[np.int32]:
    """Each known label as head * V + value, V being the most values a head has (N, A); -1 for none."""
    heads, labels = catalogue.heads.astype(np.int32), catalogue.labels
    is_known = (heads >= 0) & (labels >= 0)
    return np.where(is_known, heads * catalogue.taxonomy.num_values + labels, -1)


def _stratified_codes(
    catalogue: Catalogue, groups: Groups, shares: tuple[float, ...] | list[float], seed: int
) -> NDArray[np.int8]:
    """The part of each product (N), stratified by values and categories.

    Products are sorted by id first, so that the order of rows does not matter.
    """
    num_groups, num_parts = len(np.unique(groups)), np.count_nonzero(shares)
    if num_groups < num_parts:
        raise CatalogueError(
            f"{num_parts} parts need at least {num_parts} groups of near-duplicate photos; this "
            f"catalogue has {num_groups} ({_counted(len(catalogue), 'product')}).",
            hint="Use fewer parts (a share may be 0), or the method random.",
        )
    taxonomy, categories = catalogue.taxonomy, catalogue.category_codes[:, None]
    others = np.where(categories >= 0, taxonomy.num_heads * taxonomy.num_values + categories, -1)
    labels = np.hstack([value_codes(catalogue), others.astype(np.int32)])
    order = catalogue.table.select("id").with_row_index("index").sort("id", "index")["index"].to_numpy()
    codes = np.empty(len(catalogue), dtype=np.int8)
    codes[order] = stratify(labels[order], groups[order], shares, seed=seed)
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
            f"{len(known)} blocks of {config.block_size} ids are too few for the requested shares.",
            hint="Lower split.block_size, or use split.method stratified.",
        )
    parts = np.split(order, [num_validation, num_validation + num_test])
    return np.select([np.isin(blocks, parts[0]), np.isin(blocks, parts[1])], [1, 2], 0).astype(np.int8)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


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
