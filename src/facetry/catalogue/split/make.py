"""Make splits and folds of a catalogue.

Shapes: N products of the catalogue.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split.file import PARTS, Split, SplitConfig
from facetry.catalogue.split.stratify import stratify
from facetry.catalogue.split.summary import uneven_shares, value_codes
from facetry.errors import CatalogueError
from facetry.runtime.extras import require
from facetry.runtime.progress import SILENT, Reporter

Groups = NDArray[np.int64]
Shares = Mapping[str, float]

NEAR_DUPLICATES = "a group of near-duplicate photos"


def make_split(
    catalogue: Catalogue,
    config: SplitConfig,
    *,
    seed: int,
    groups: Groups | None = None,
    reporter: Reporter = SILENT,
) -> Split:
    """Split a catalogue; the reporter says which parts are larger or smaller than asked, and why.

    Where ids are no whole numbers there are no blocks of them: `id_blocks` becomes `stratified`, and the
    reporter says so.

    `groups` (N): products with the same code have the same or near-duplicate photos. Only the method
    `stratified` uses them, and finds them itself if they are not given.

    Raises:
        CatalogueError: too few products, groups or blocks for the parts.
    """
    seed = seed if config.seed is None else config.seed
    if config.method == "id_blocks" and not catalogue.table["id"].dtype.is_integer():
        reporter.say(
            "split.method id_blocks needs whole numbers as ids: the products are split by stratified, "
            "which keeps near-duplicate photos together."
        )
        config = config.model_copy(update={"method": "stratified"})
    undivided, unit = np.arange(len(catalogue)), ""
    if config.method == "stratified":
        groups = find_groups(catalogue, reporter=reporter) if groups is None else groups
        undivided, unit = groups, NEAR_DUPLICATES
    elif config.method == "id_blocks":
        undivided, unit = _blocks(catalogue, config), "a block of ids"
    shares = config.shares(len(catalogue), len(np.unique(undivided)))
    if config.method == "stratified":
        codes = _stratified_codes(catalogue, undivided, list(shares.values()), seed)
    elif config.method == "random":
        codes = _random_codes(len(catalogue), shares, seed)
    else:
        codes = _block_codes(undivided, config.block_size, shares, seed)
    empty = [
        part for code, (part, share) in enumerate(shares.items()) if share and not (codes == code).any()
    ]
    if empty:
        raise CatalogueError(
            f"The catalogue's {_counted(len(catalogue), 'product')} leave none for {empty[0]}.",
            hint="Ask for fewer parts: a share may be 0.",
        )
    for line in uneven_shares(codes, shares, undivided, unit):
        reporter.say(line)
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

    The reporter says which folds are larger or smaller than the others, and why.

    `groups` (N): products with the same code go to the same fold; None groups near-duplicate photos.

    Raises:
        CatalogueError: fewer groups than folds.
    """
    if groups is None:
        groups = find_groups(catalogue, reporter=reporter)
    codes = _stratified_codes(catalogue, groups, [1 / num_folds] * num_folds, seed)
    shares = {f"fold {fold}": 1 / num_folds for fold in range(num_folds)}
    for line in uneven_shares(codes, shares, groups, NEAR_DUPLICATES):
        reporter.say(line)
    return codes


def find_groups(
    catalogue: Catalogue, rows: NDArray[np.int64] | None = None, *, reporter: Reporter = SILENT
) -> Groups:
    """Equal codes for products with the same or near-duplicate photos, of all (N) or of some `rows`.

    Without a photo folder each product is a group of its own, and the reporter says so.
    """
    if catalogue.source.images is None:
        reporter.say("No photo folder: products are not grouped by near-duplicate photos.")
        return np.arange(len(catalogue) if rows is None else len(rows))
    require("Looking for similar photos", "faiss", "imagehash")
    from facetry.catalogue.duplicates.find import duplicate_groups

    return duplicate_groups(catalogue.products(rows), reporter=reporter)


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


def _random_codes(num_products: int, shares: Shares, seed: int) -> NDArray[np.int8]:
    # RandomState: a split must be the same in every version of numpy, which default_rng is not.
    order = np.random.RandomState(seed).permutation(num_products)
    held_out = list(shares.values())[1:]
    ends = np.cumsum([max(bool(share), round(num_products * share)) for share in held_out])
    return _codes_of(np.split(order, ends), num_products)


def _blocks(catalogue: Catalogue, config: SplitConfig) -> Groups:
    """Equal codes (N) for products whose ids are in one block."""
    return catalogue.table["id"].to_numpy() // config.block_size


def _block_codes(blocks: Groups, block_size: int, shares: Shares, seed: int) -> NDArray[np.int8]:
    known, indices = np.unique(blocks, return_inverse=True)
    order = np.random.RandomState(seed).permutation(len(known))
    held_out = list(shares.values())[1:]
    counts = [math.floor(len(known) * share + 1e-9) for share in held_out]
    if any(share and not count for share, count in zip(held_out, counts, strict=True)):
        raise CatalogueError(
            f"{len(known)} blocks of {block_size} ids are too few for the requested shares.",
            hint="Lower split.block_size, or use split.method stratified.",
        )
    return _codes_of(np.split(order, np.cumsum(counts)), len(known))[indices]


def _codes_of(parts: list[NDArray[np.int64]], size: int) -> NDArray[np.int8]:
    """The index into `PARTS` of each of `size` things, of which `parts` hold those after the first."""
    codes = np.zeros(size, dtype=np.int8)
    for code, part in enumerate(parts[: len(PARTS) - 1], start=1):
        codes[part] = code
    return codes


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
