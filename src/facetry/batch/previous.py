"""Rows of previous runs, and which of them can be reused because their product has not changed."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from facetry.batch.manifest import FAILED, SCHEMA, Part, text_digest
from facetry.predictions import id_column
from facetry.product import Product

_IDS_PER_QUERY = 500  # SQLite limits the parameters of a query


@dataclass(frozen=True, kw_only=True, eq=False)
class PreviousRows:
    """Rows of previous runs for a shard's products: candidates for reuse.

    `index` maps a product's id, as text, to its row. `inputs` has, for each row, what it was predicted
    from: the category and the digests of text and photos.
    """

    rows: pl.DataFrame = field(default_factory=pl.DataFrame)
    index: Mapping[str, int] = field(default_factory=dict)
    inputs: Sequence[tuple[str, str, str]] = ()

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "PreviousRows":
        """Index rows whose ids are texts; of several rows for one product the first is used."""
        rows = rows.unique("id", keep="first", maintain_order=True)
        return cls(
            rows=rows,
            index={each: row for row, each in enumerate(rows["id"])},
            inputs=rows.select("category", "text_digest", "digest").rows(),
        )

    def has(self, product: Product) -> bool:
        """Whether there is a row that was predicted from the same category, text and photos.

        The product's photos must have been read: they are compared by `Product.digest`.
        """
        row = self.index.get(str(product.id))
        if row is None:
            return False
        return self.inputs[row] == (product.category, text_digest(product.text), product.digest)

    def select(self, products: Sequence[Product]) -> pl.DataFrame:
        """The rows of products that `has` is true of, in their order."""
        rows = self.rows[[self.index[str(product.id)] for product in products]]
        return rows.with_columns(id_column(product.id for product in products))


NO_PREVIOUS_ROWS = PreviousRows()
"""For a run that has no previous one."""


class PreviousResults:
    """The parts of previous runs, the newest last; `read` gives a part's rows, None for a damaged one.

    A product is looked up in the part with its shard's number first, then in all parts by an SQLite
    index of their ids in the file `index`, so that memory does not grow with the number of parts.
    """

    def __init__(
        self, parts: Sequence[Part], read: Callable[[Part], pl.DataFrame | None], index: Path
    ) -> None:
        self._parts = parts
        self._by_number = {part.number: index for index, part in enumerate(parts)}
        self._read = read
        self._index_file = index
        self._index: sqlite3.Connection | None = None

    def of_shard(self, number: int, products: Sequence[Product]) -> PreviousRows:
        """The previous rows of the products of the shard with that number."""
        if not self._parts:
            return NO_PREVIOUS_ROWS
        wanted = {str(product.id) for product in products}
        frames = []
        if (own := self._by_number.get(number)) is not None:
            frames.append(self._rows(own, wanted))
            wanted.difference_update(frames[0]["id"])
        for part, ids in sorted(self._look_up(sorted(wanted)).items()):
            frames.append(self._rows(part, ids))
        return PreviousRows.of(pl.concat(frames)) if frames else NO_PREVIOUS_ROWS

    def close(self) -> None:
        """Remove the index file."""
        if self._index:
            self._index.close()
        self._index = None
        self._index_file.unlink(missing_ok=True)

    def _rows(self, part: int, wanted: Collection[str]) -> pl.DataFrame:
        """The reusable rows of a part that have one of the wanted ids."""
        rows = self._reusable(part)
        return rows.filter(pl.col("id").is_in(list(wanted)))

    def _reusable(self, part: int) -> pl.DataFrame:
        """The rows of a part whose photos were read and on which the predictor did not fail."""
        rows = self._read(self._parts[part])
        if rows is None:
            rows = pl.DataFrame(schema=SCHEMA)
        has_failed = pl.col("status").str.starts_with(FAILED)
        rows = rows.filter((pl.col("digest") != "") & ~has_failed)
        return rows.with_columns(pl.col("id").cast(pl.String))

    def _look_up(self, ids: Sequence[str]) -> dict[int, list[str]]:
        """Which part each id is in, as {index of the part: ids}."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for start in range(0, len(ids), _IDS_PER_QUERY):
            batch = ids[start : start + _IDS_PER_QUERY]
            marks = ",".join("?" * len(batch))
            query = f"SELECT part, id FROM products WHERE id IN ({marks})"  # noqa: S608 - only marks
            for part, each in self._open_index().execute(query, batch):
                found[part].append(each)
        return found

    def _open_index(self) -> sqlite3.Connection:
        """The index of all parts, built when it is first needed."""
        if self._index is None:
            self._index_file.unlink(missing_ok=True)
            self._index = sqlite3.connect(self._index_file, isolation_level=None)
            # It need not survive a crash: the next run builds it again.
            self._index.execute("PRAGMA journal_mode = OFF")
            self._index.execute("PRAGMA synchronous = OFF")
            self._index.execute("CREATE TABLE products (id TEXT PRIMARY KEY, part INT) WITHOUT ROWID")
            with closing(self._index.cursor()) as cursor:
                cursor.execute("BEGIN")
                for part in range(len(self._parts)):
                    rows = ((each, part) for each in self._reusable(part)["id"])
                    cursor.executemany("INSERT OR REPLACE INTO products VALUES (?, ?)", rows)
                cursor.execute("COMMIT")
        return self._index
