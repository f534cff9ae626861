"""Rows that an earlier run has scored, and which of them still hold."""

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

_NUM_ASKED = 500  # ids in one question to the index


@dataclass(frozen=True, kw_only=True, eq=False)
class PreviousRows:
    """Earlier rows that may hold for a shard's products, and where each product's is.

    `facts` are each row's category, and the digests of its text and its photos.
    """

    rows: pl.DataFrame = field(default_factory=pl.DataFrame)
    places: Mapping[str, int] = field(default_factory=dict)
    facts: Sequence[tuple[str, str, str]] = ()

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "PreviousRows":
        """What rows of parts, their ids as texts, tell; of several for one product, the first."""
        rows = rows.unique("id", keep="first", maintain_order=True)
        return cls(
            rows=rows,
            places={each: place for place, each in enumerate(rows["id"])},
            facts=rows.select("category", "text_digest", "digest").rows(),
        )

    def has(self, product: Product) -> bool:
        """Whether a product, its photos read, has the category, the text and the photos that it had."""
        place = self.places.get(str(product.id))
        if place is None:
            return False
        return self.facts[place] == (product.category, text_digest(product.text), product.digest)

    def take(self, products: Sequence[Product]) -> pl.DataFrame:
        """The rows of known products."""
        rows = self.rows[[self.places[str(product.id)] for product in products]]
        return rows.with_columns(id_column(product.id for product in products))


NO_PREVIOUS_ROWS = PreviousRows()
"""Nothing has been scored before."""


class PreviousResults:
    """The parts of earlier runs, the newest last; `read` gives a part's rows, None for a damaged one.

    A product is looked for in the part with its shard's own number first, then in all parts by an
    index at the path `index`: memory does not depend on how many there are.
    """

    def __init__(
        self, parts: Sequence[Part], read: Callable[[Part], pl.DataFrame | None], index: Path
    ) -> None:
        self._parts = parts
        self._by_number = {part.number: place for place, part in enumerate(parts)}
        self._read = read
        self._path = index
        self._index: sqlite3.Connection | None = None

    def known(self, number: int, products: Sequence[Product]) -> PreviousRows:
        """What is known of the products of the shard with that number."""
        if not self._parts:
            return NO_PREVIOUS_ROWS
        wanted = {str(product.id) for product in products}
        frames = []
        if (place := self._by_number.get(number)) is not None:
            frames.append(self._rows(place, wanted))
            wanted.difference_update(frames[0]["id"])
        for place, ids in sorted(self._look_up(sorted(wanted)).items()):
            frames.append(self._rows(place, ids))
        return PreviousRows.of(pl.concat(frames)) if frames else NO_PREVIOUS_ROWS

    def close(self) -> None:
        """Remove the index."""
        if self._index:
            self._index.close()
        self._index = None
        self._path.unlink(missing_ok=True)

    def _rows(self, place: int, wanted: Collection[str]) -> pl.DataFrame:
        """Those of a part's rows that are wanted and need not be tried again."""
        rows = self._useful(place)
        return rows.filter(pl.col("id").is_in(list(wanted)))

    def _useful(self, place: int) -> pl.DataFrame:
        rows = self._read(self._parts[place])
        if rows is None:
            rows = pl.DataFrame(schema=SCHEMA)
        has_failed = pl.col("status").str.starts_with(FAILED)
        rows = rows.filter((pl.col("digest") != "") & ~has_failed)
        return rows.with_columns(pl.col("id").cast(pl.String))

    def _look_up(self, ids: Sequence[str]) -> dict[int, list[str]]:
        """In which part each id stands, as place -> ids."""
        found: defaultdict[int, list[str]] = defaultdict(list)
        for start in range(0, len(ids), _NUM_ASKED):
            asked = ids[start : start + _NUM_ASKED]
            marks = ",".join("?" * len(asked))
            query = f"SELECT place, id FROM products WHERE id IN ({marks})"  # noqa: S608 - only marks
            for place, each in self._indexed().execute(query, asked):
                found[place].append(each)
        return found

    def _indexed(self) -> sqlite3.Connection:
        """The index of all parts, made when it is first asked."""
        if self._index is None:
            self._path.unlink(missing_ok=True)
            self._index = sqlite3.connect(self._path, isolation_level=None)
            self._index.execute("PRAGMA journal_mode = OFF")  # it is never read again after a kill
            self._index.execute("PRAGMA synchronous = OFF")
            self._index.execute("CREATE TABLE products (id TEXT PRIMARY KEY, place INT) WITHOUT ROWID")
            with closing(self._index.cursor()) as cursor:
                cursor.execute("BEGIN")
                for place in range(len(self._parts)):
                    rows = ((each, place) for each in self._useful(place)["id"])
                    cursor.executemany("INSERT OR REPLACE INTO products VALUES (?, ?)", rows)
                cursor.execute("COMMIT")
        return self._index
