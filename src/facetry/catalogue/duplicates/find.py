"""Find products whose photos are exact duplicates, near duplicates or alike by a backbone's features.

Near duplicates are found in two steps. Coarse colour layouts, as vectors in a faiss index, give
each photo its nearest neighbours; those whose perceptual hashes agree are registered and compared (see
`fingerprints`). Hashes alone are not enough: garments photographed in one pose have similar hashes,
and a search by hash returns a twentieth of all pairs.

Shapes: N products of the scan, M different photos, P pairs, D features, L numbers of a layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.duplicates.fingerprints import SIGNATURE_PX, difference
from facetry.catalogue.duplicates.scan import Scan, scan_photos
from facetry.nearest import MAX_FLAT_ROWS, Index
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]

MAX_DIFFERENCE: Final = 1.2
"""The largest difference of near duplicates, as `fingerprints` measures it. Copies drawn at 64 to 256 px
stay below 1.14, others above 1.45."""

MAX_DIFFERENCE_LARGE: Final = 1.0
"""The same if what both photos show is at least `LARGE_PX` wide and high, where compression changes
less: another shirt on the same model in the same pose may differ by little more than this."""

LARGE_PX: Final = 192

MIN_LIKENESS: Final = 0.97
"""The least cosine of the features of two photos that are alike."""

SPACING_NEIGHBOUR: Final = 8
MAX_SPACING_RATIO: Final = 0.15
"""A pair is alike only if its distance is at most this share of the distance of each one's eighth
neighbour: features of a backbone trained for attributes put many different garments close together."""

NUM_NEIGHBOURS: Final = 32
"""Neighbours compared with each photo: bounds memory and time for any catalogue."""

MIN_LAYOUT_LIKENESS: Final = 0.92
MAX_HASH_DISTANCE: Final = 20
"""Bits of 64; crops of 4 % at each side moved up to 16 in drawn photos, 20 in a shop's."""

FLAT_CONTRAST: Final = 10.0
"""Standard deviation, in grey levels, below which a photo has nothing to be recognised by: dark photos
show little more than noise. Drawn photos that are not dark have 30 and more, 99 % of a shop's 22 and
more."""

_ROUNDING: Final = 1e-6  # of cosines
_LAYOUT_SIDE: Final = 8
_BLOCK: Final = 4096  # photos in memory at one time
_PAIR_BLOCK: Final = 256
_SCHEMA: Final = {
    "left": pl.Int64,
    "right": pl.Int64,
    "relation": pl.String,
    "similarity": pl.Float32,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Duplicates:
    """Products that show the same photo.

    Attributes:
        pairs: left and right (rows, left < right), relation ("exact", "near", "alike"), similarity
            (0 to 1; near ones: 1 less half the difference). Each exact copy is paired with the first
            one, and only the first one is in near and alike pairs.
        exact_groups: equal numbers for equal files (N).
        groups: equal numbers for products that pairs connect, directly or through others (N).
    """

    pairs: pl.DataFrame
    exact_groups: Rows
    groups: Rows


def duplicate_groups(products: Sequence[Product], *, reporter: Reporter = SILENT) -> Rows:
    """Equal numbers for products with the same photo or near duplicates (N)."""
    scan = scan_photos(products, reporter=reporter)
    return find_duplicates(scan, reporter=reporter).groups


def find_duplicates(
    scan: Scan, *, features: Floats | None = None, reporter: Reporter = SILENT
) -> Duplicates:
    """Find the pairs and groups of products that show the same photo.

    With `features` (N, D), zeros or NaN for a product without any, alike pairs are found too. A
    product without a readable photo is a group of its own.
    """
    readable = scan.readable
    _, first, member_of = np.unique(scan.content[readable], return_index=True, return_inverse=True)
    own = np.arange(len(scan), dtype=np.int64)
    exact = own.copy()
    exact[readable] = readable[first[member_of]]
    copies = np.flatnonzero(exact != own)
    frames = [_frame(np.stack([exact[copies], copies], axis=1), "exact", np.ones(len(copies)))]
    different = np.sort(readable[first])
    frames.append(_near(scan, different, reporter))
    if features is not None:
        frames.append(_alike(features, different))
    pairs = pl.concat(frames).unique(["left", "right"], keep="first", maintain_order=True)
    joined = pairs.select("left", "right").to_numpy().astype(np.int64)
    return Duplicates(pairs=pairs, exact_groups=exact, groups=connect(len(scan), joined))


def connect(num_products: int, pairs: Rows) -> Rows:
    """The lowest row to which each product (N) is connected by pairs (P, 2).

    >>> connect(5, np.array([[1, 4], [3, 4]])).tolist()
    [0, 1, 2, 1, 1]
    """
    roots = np.arange(num_products, dtype=np.int64)
    while len(pairs):
        ends = roots[pairs]  # (P, 2)
        low, high = ends.min(axis=1), ends.max(axis=1)
        if (low == high).all():
            break
        np.minimum.at(roots, high, low)
        while (roots != roots[roots]).any():
            roots = roots[roots]
    return roots


def _frame(rows: Rows, relation: str, similarity: NDArray[np.floating]) -> pl.DataFrame:
    """Pairs of rows (P, 2) as a table, in order."""
    columns = {
        "left": rows.min(axis=1),
        "right": rows.max(axis=1),
        "relation": [relation] * len(rows),
        "similarity": similarity.astype(np.float32),
    }
    return pl.DataFrame(columns, schema=_SCHEMA).sort("left", "right")


def _near(scan: Scan, rows: Rows, reporter: Reporter) -> pl.DataFrame:
    """The pairs among these rows that are near duplicates."""
    layouts, is_flat = _layouts(scan, rows)
    contrasted = np.flatnonzero(~is_flat)
    neighbours, _, _ = _neighbours(layouts[contrasted], MIN_LAYOUT_LIKENESS)
    pairs = rows[contrasted[neighbours]]  # (P, 2)
    num_bits = np.bitwise_count(scan.perceptual[pairs[:, 0]] ^ scan.perceptual[pairs[:, 1]])
    pairs = pairs[num_bits <= MAX_HASH_DISTANCE]
    differences = _compare(scan, pairs, reporter)
    sides = np.minimum(scan.width, scan.height)
    is_large = sides[pairs].min(axis=1) >= LARGE_PX
    is_near = differences < np.where(is_large, MAX_DIFFERENCE_LARGE, MAX_DIFFERENCE)
    flat = _equal_pairs(scan, rows[is_flat])
    return pl.concat(
        [
            _frame(pairs[is_near], "near", np.maximum(0, 1 - differences[is_near] / 2)),
            _frame(flat, "near", np.ones(len(flat))),
        ]
    )


def _layouts(scan: Scan, rows: Rows) -> tuple[Floats, NDArray[np.bool_]]:
    """Photos' coarse colours, less their mean, as vectors (M, L), and which photos have no contrast."""
    side, step = _LAYOUT_SIDE, SIGNATURE_PX // _LAYOUT_SIDE
    layouts = np.empty((len(rows), side * side * 3), dtype=np.float32)
    is_flat = np.empty(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        photos = scan.signatures[rows[part]].astype(np.float32)  # (B, S, S, 3)
        coarse = photos.reshape(-1, side, step, side, step, 3).mean(axis=(2, 4))
        is_flat[part] = photos.std(axis=(1, 2)).max(axis=1) < FLAT_CONTRAST
        vectors = coarse.reshape(len(photos), -1)
        layouts[part] = vectors - vectors.mean(axis=1, keepdims=True)
    return layouts, is_flat


def _neighbours(vectors: Floats, min_likeness: float) -> tuple[Rows, Floats, Floats]:
    """Pairs of indices (P, 2) with a cosine of at least `min_likeness`, their cosines (P), and spacings.

    The spacing (M) around a vector is the distance to its `SPACING_NEIGHBOUR`-th neighbour, or to the
    farthest of fewer.
    """
    spacing = np.zeros(len(vectors), dtype=np.float32)
    pairs, cosines = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)]
    if len(vectors) > 1:
        index = Index.build(vectors, "flat" if len(vectors) <= MAX_FLAT_ROWS else "ivf")
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            distances, others = index.search(block, NUM_NEIGHBOURS + 1)
            likeness = 1 - distances
            own = np.arange(start, start + len(block))[:, None].repeat(others.shape[1], axis=1)
            chosen = (likeness >= min_likeness) & (others >= 0) & (others != own)
            pairs.append(np.sort(np.stack([own[chosen], others[chosen]], axis=1), axis=1))
            cosines.append(likeness[chosen])
            nearest = np.where(others >= 0, distances, 0)[:, : SPACING_NEIGHBOUR + 1]
            spacing[start : start + len(block)] = nearest.max(axis=1)
    found, first = np.unique(np.concatenate(pairs), axis=0, return_index=True)
    return found, np.concatenate(cosines)[first], spacing


def _compare(scan: Scan, pairs: Rows, reporter: Reporter) -> Floats:
    """How far the photos of each pair differ (P)."""
    found = np.empty(len(pairs), dtype=np.float32)
    with reporter.bar("Comparing photos", len(pairs)) as advance:
        for start in range(0, len(pairs), _PAIR_BLOCK):
            left, right = pairs[start : start + _PAIR_BLOCK].T
            found[start : start + len(left)] = difference(scan.signatures[left], scan.signatures[right])
            advance(len(left))
    return found


def _equal_pairs(scan: Scan, rows: Rows) -> Rows:
    """Pairs of photos without contrast that have the same signature, each with the first such photo."""
    flattened = scan.signatures[rows].reshape(len(rows), SIGNATURE_PX**2 * 3)
    _, first, member_of = np.unique(flattened, axis=0, return_index=True, return_inverse=True)
    leaders = rows[first[member_of]]
    others = leaders != rows
    return np.stack([leaders[others], rows[others]], axis=1)


def _alike(features: Floats, rows: Rows) -> pl.DataFrame:
    """The pairs among these rows whose features are close, and much closer than their neighbours'."""
    given = features[rows]
    usable = rows[np.isfinite(given).all(axis=1) & given.any(axis=1)]
    vectors = np.ascontiguousarray(features[usable], dtype=np.float32)
    pairs, cosines, spacing = _neighbours(vectors, MIN_LIKENESS)
    nearer = spacing[pairs].min(axis=1, initial=np.inf)  # P
    is_alike = 1 - cosines <= MAX_SPACING_RATIO * nearer + _ROUNDING
    return _frame(usable[pairs[is_alike]], "alike", np.minimum(cosines[is_alike], 1))
