"""The indexed products: an index for each category, and a table of the products.

Shapes: N products, C categories, A slots, V values, n of one category, q queries, k nearest, D features.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.errors import ModelFolderError
from facetry.nearest import Distances, Index, Indices, Kind, Rows, count_votes
from facetry.product import Product
from facetry.runtime.files import writing
from facetry.taxonomy import OFF_LIST, Taxonomy

FOLDER = "index"
TABLE = "products.parquet"

_ID = {True: pl.Int64(), False: pl.String()}
_AGAIN = "Copy the model folder again, or build it again."


@dataclass(frozen=True, kw_only=True, eq=False)
class Collection:
    """Products with one index for each category.

    `table` (see `to_table`) has a row for each product: id, category, photos (their files), page (its
    address in the shop, null for none), and for each slot `label_0`, ... as an index into the head's
    values, null for none. A category's index holds its products in the table's order.
    """

    taxonomy: Taxonomy
    table: pl.DataFrame
    indexes: Mapping[int, Index]

    def __post_init__(self) -> None:
        for category, index in self.indexes.items():
            assert len(index) == len(self.members[category])

    @classmethod
    def build(
        cls, taxonomy: Taxonomy, table: pl.DataFrame, features: Rows, kind: Kind = "auto"
    ) -> "Collection":
        """Index features (N, D) of the table's products, in its order."""
        categories = _codes(taxonomy, table)
        indexes = {
            int(category): Index.build(features[categories == category], kind)
            for category in np.unique(categories)
        }
        return cls(taxonomy=taxonomy, table=table, indexes=indexes)

    def __len__(self) -> int:
        return self.table.height

    @cached_property
    def categories(self) -> NDArray[np.int64]:
        """Each product's category code (N)."""
        return _codes(self.taxonomy, self.table)

    @cached_property
    def labels(self) -> NDArray[np.int16]:
        """Labels as indices into the head's values (N, A); -1 for none."""
        columns = [f"label_{slot}" for slot in range(self.taxonomy.num_slots)]
        return self.table.select(pl.col(columns).fill_null(-1)).to_numpy()

    @cached_property
    def frequencies(self) -> NDArray[np.float64]:
        """The relative frequency of each value in each slot of each category (C, A, V).

        One is added to each value's count, so that no frequency is 0.
        """
        mask = self.taxonomy.value_mask
        counts = np.zeros(mask.shape)
        for category in self.indexes:
            own = self.labels[self.members[category]][None]  # 1 n A
            counts[category] = count_votes(own, self.taxonomy.num_values)[0]
        counts = np.where(mask, counts + 1, 0)
        shares: NDArray[np.float64] = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
        return shares

    @cached_property
    def members(self) -> Mapping[int, NDArray[np.int64]]:
        """The rows of each indexed category's products, in its index's order (n)."""
        return {category: np.flatnonzero(self.categories == category) for category in self.indexes}

    def search(self, category: int, queries: Rows, num_nearest: int) -> tuple[Distances, Indices]:
        """Distances and table rows (q, k) of a category's nearest products; the row is -1 for none.

        k is `num_nearest`, or less if the category has fewer products.
        """
        index = self.indexes.get(category)
        if index is None:
            shape = (len(queries), 0)
            return np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        distances, indices = index.search(queries, num_nearest)
        return distances, np.where(indices >= 0, self.members[category][indices], -1)

    def extended(self, table: pl.DataFrame, features: Rows) -> "Collection":
        """The collection with more products; their features (n, D) are added to its indexes in place."""
        categories = _codes(self.taxonomy, table)
        indexes = dict(self.indexes)
        for category in np.unique(categories).tolist():
            rows = features[categories == category]
            if category in indexes:
                indexes[category].add(rows)
            else:
                indexes[category] = Index.build(rows)
        ids = {each["id"].dtype for each in (self.table, table)}
        tables = [
            each if len(ids) == 1 else each.cast({"id": pl.String}) for each in (self.table, table)
        ]
        return Collection(taxonomy=self.taxonomy, table=pl.concat(tables), indexes=indexes)

    def save(self, folder: Path, categories: Iterable[int] | None = None) -> None:
        """Write the table and the indexes, or only those of some `categories`."""
        with writing(folder / TABLE) as draft:
            self.table.write_parquet(draft)
        for category in self.indexes if categories is None else categories:
            self.indexes[category].save(folder / f"{category:04d}.faiss")

    @classmethod
    def load(cls, folder: Path, taxonomy: Taxonomy, *, is_binary: bool, to_append: bool) -> "Collection":
        """Read what `save` wrote; see `Index.open` for `to_append`.

        Raises:
            ModelFolderError: a file is missing, damaged, or does not fit the others.
        """
        try:
            table = pl.read_parquet(folder / TABLE)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ModelFolderError(f"{folder / TABLE} cannot be read: {error}", hint=_AGAIN) from error
        if "page" not in table.columns:  # 0.1.0 wrote none
            table = table.insert_column(3, pl.lit(None, pl.String).alias("page"))
        codes, counts = np.unique(_codes(taxonomy, table), return_counts=True)
        indexes = {}
        for category, count in zip(codes.tolist(), counts.tolist(), strict=True):
            path = folder / f"{category:04d}.faiss"
            index = indexes[category] = Index.open(path, is_binary=is_binary, to_append=to_append)
            if len(index) != count:
                raise ModelFolderError(
                    f"{path} holds {len(index):,} products, {TABLE} {count:,} of that category.",
                    hint=_AGAIN,
                )
        return cls(taxonomy=taxonomy, table=table, indexes=indexes)


def to_table(taxonomy: Taxonomy, products: Sequence[Product]) -> pl.DataFrame:
    """The table of a collection; labels that the taxonomy does not list are left out."""
    labels = taxonomy.encode_labels(products)  # N A
    is_listed = (labels >= 0) & (labels != OFF_LIST)
    codes = pl.from_numpy(
        np.where(is_listed, labels, -1).astype(np.int16),
        schema=[f"label_{slot}" for slot in range(taxonomy.num_slots)],
    )
    ids = [product.id for product in products]
    has_integer_ids = all(isinstance(each, int) for each in ids)
    photos = [[str(photo.resolve()) for photo in product.photos] for product in products]
    return pl.DataFrame(
        {
            "id": pl.Series(ids if has_integer_ids else list(map(str, ids)), dtype=_ID[has_integer_ids]),
            "category": pl.Series([product.category for product in products], dtype=pl.String),
            "photos": pl.Series(photos, dtype=pl.List(pl.String)),
            "page": pl.Series([product.page for product in products], dtype=pl.String),
        }
    ).hstack(codes.with_columns(pl.all().replace(-1, None)))


def _codes(taxonomy: Taxonomy, table: pl.DataFrame) -> NDArray[np.int64]:
    codes = table["category"].replace_strict(taxonomy.category_indices, return_dtype=pl.Int64)
    return codes.to_numpy()
