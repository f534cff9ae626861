"""The catalogue: a table of products with its taxonomy, read as label arrays or as `Product`s.

Shapes: N products of the table, A slots (attributes of the category that has most).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.frames import is_frame, write_frame
from facetry.catalogue.photo_files import ObjectFiles, PhotoFiles, photo_files
from facetry.catalogue.photos import (
    DOWNLOAD,
    NAME_PHOTO_FOLDER,
    PhotoFinder,
    guess_pattern,
    is_address,
)
from facetry.catalogue.repairs import Repairs, Target, plan_repairs
from facetry.catalogue.scan import (
    collect,
    collect_batches,
    collect_slices,
    column_names,
    is_parquet,
    scan,
)
from facetry.catalogue.source import CHALLENGE_ATTRIBUTES, Columns, Source, find_source
from facetry.catalogue.table import Layout, find_layout, labels_to_slots, tidy
from facetry.catalogue.values import complete, read_taxonomy, seen_values
from facetry.errors import CatalogueError
from facetry.product import Product
from facetry.runtime.objects import located
from facetry.runtime.progress import Reporter
from facetry.taxonomy import OFF_LIST, Taxonomy

_NUM_GUESSED_FROM = 20  # products whose photos are looked for to guess how photos are named
_NUM_HASHED = 100_000  # ids in memory as Python strings at one time


def open_catalogue(
    table: Any,
    *,
    images: str | Path | None = None,
    taxonomy: Taxonomy | None = None,
    repairs: str | Path | None = None,
    columns: Columns | None = None,
) -> "Catalogue":
    """Open a challenge folder, a table or a `catalogue.yaml`, by its path, or a DataFrame.

    See `catalogue.source` for the former, which may be URLs of objects; a DataFrame is one of polars,
    pandas, pyarrow or what else narwhals knows. `columns` says which column holds what, if that is not
    as in the challenge.

    With a `taxonomy` given, only its values are valid labels; else the table's own values are added to
    those that the catalogue's taxonomy file declares. Either way that file's attribute list says what
    `attr_1`, ... mean. `repairs` is a file with corrections of labels, as `catalogue.yaml` may name one.

    Raises:
        CatalogueError: a table that cannot be read, or lacks a column; repairs likewise.
        TaxonomyError: a malformed taxonomy file.

    >>> frame = pl.DataFrame({"sku": ["a1", "a2"], "type": "T-Shirts", "colour": ["red", None]})
    >>> columns = Columns(id="sku", category="type", attributes={"colour": "colour"})
    >>> open_catalogue(frame, columns=columns).taxonomy.categories
    ('T-Shirts',)
    """
    if not (is_frame(table) or isinstance(table, str | Path)):
        raise CatalogueError(
            f"A catalogue is given by its path or as a DataFrame, not as {type(table).__name__}.",
            hint="Make a frame of it first, such as polars.DataFrame(data).",
        )
    source = find_source(
        write_frame(table) if is_frame(table) else located(table),
        images=located(images) if images else None,
        repairs=located(repairs) if repairs else None,
    )
    if columns is not None:
        source = source.model_copy(update={"columns": columns})
    return assemble(source, taxonomy, is_closed=taxonomy is not None)


def assemble(source: Source, taxonomy: Taxonomy | None, *, is_closed: bool) -> "Catalogue":
    """Make the catalogue of a source, with its own taxonomy if none is given, and its labels repaired.

    Unless the taxonomy `is_closed`, the table's values are added to it.

    Raises:
        CatalogueError: a table that cannot be read, or lacks a column; repairs likewise.
        TaxonomyError: a malformed taxonomy file.
    """
    declared = read_taxonomy(source.taxonomy) if source.taxonomy else None
    given, taxonomy = taxonomy, taxonomy or declared
    raw = scan(source)
    layout = find_layout(
        column_names(raw), source.columns, taxonomy, values=source.values, named_by=declared
    )
    if given is None and taxonomy is not None:
        taxonomy = layout.cells.declare(taxonomy)
    clean = tidy(raw, layout, source.table)
    target = Target(
        frame=clean, table=source.table, layout=layout, taxonomy=taxonomy, is_closed=is_closed
    )
    repairs = plan_repairs(source.repairs, target)
    clean = repairs.apply(clean)
    if taxonomy is None or not is_closed:
        repaired = dict.fromkeys(repairs.columns, clean)
        seen = seen_values(raw, layout, source.table, repaired=repaired)
        taxonomy = complete(taxonomy, seen, layout)
    return Catalogue(
        source=source,
        given=given,
        is_closed=is_closed,
        repairs=repairs,
        layout=layout,
        taxonomy=taxonomy,
        scan=labels_to_slots(clean, layout, taxonomy),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """A table of products with its taxonomy. `scan` is the tidy table as a lazy query.

    `given` and `is_closed` are the arguments of `assemble`. `repairs` are already applied. If there
    are `streamed_rows`, by row number, `stream` yields these rows alone.
    """

    source: Source
    given: Taxonomy | None
    is_closed: bool
    layout: Layout
    taxonomy: Taxonomy
    repairs: Repairs
    scan: pl.LazyFrame
    streamed_rows: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return self.table.height

    @property
    def has_challenge_form(self) -> bool:
        """Whether it is the challenge's: labels in `attr_1`, `attr_2`, ..., or its attribute list."""
        file = self.source.taxonomy
        return bool(self.layout.slots) or (file is not None and file.name == CHALLENGE_ATTRIBUTES)

    @cached_property
    def table(self) -> pl.DataFrame:
        """The tidy table (N rows) with labels as indices into the head's values, null for no label."""
        codes = [self._code(slot).alias(f"label_{slot}") for slot in range(self.taxonomy.num_slots)]
        return collect(self.scan.with_columns(*codes), self.source.table)

    @cached_property
    def labels(self) -> NDArray[np.int16]:
        """Known labels as indices into the head's values (N, A); -1 where there is none."""
        columns = [f"label_{slot}" for slot in range(self.taxonomy.num_slots)]
        return self.table.select(pl.col(columns).fill_null(-1)).to_numpy()

    def known_labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Labels of some rows as `Taxonomy.encode_labels` codes them (n, A).

        Unlike in `labels`, a value that the taxonomy does not list is `OFF_LIST`.
        """
        labels = self.labels.astype(np.int64)
        for row, values in self._off_list.items():
            labels[row, [value is not None for value in values]] = OFF_LIST
        return labels[rows]

    @cached_property
    def category_codes(self) -> NDArray[np.int64]:
        """Each product's category index (N); -1 for one that the taxonomy does not have."""
        codes = self.table["category"].replace_strict(
            self.taxonomy.category_indices, default=-1, return_dtype=pl.Int64
        )
        return codes.to_numpy()

    @cached_property
    def is_random(self) -> NDArray[np.bool_]:
        """Which cells (N, A) no person looked at for another reason than a random draw."""
        is_random = np.ones(self.labels.shape, dtype=bool)
        if not self.repairs.selected:
            return is_random
        wanted = {id_ for id_, _, _ in self.repairs.selected}
        ids = map(str, self.table["id"].to_list())
        rows = {id_: row for row, id_ in enumerate(ids) if id_ in wanted}
        for id_, category, attribute in self.repairs.selected:
            if id_ in rows and category in self.taxonomy.categories:
                slot = self.taxonomy.attributes(category).index(attribute)
                is_random[rows[id_], slot] = False
        return is_random

    @cached_property
    def is_labelled(self) -> NDArray[np.bool_]:
        """Which products have a known category and any label that the taxonomy lists (N)."""
        return (self.category_codes >= 0) & (self.labels >= 0).any(axis=1)

    @cached_property
    def heads(self) -> NDArray[np.int64]:
        """The head behind each slot of each product (N, A); -1 where there is none."""
        return self.taxonomy.heads_of_slots(self.category_codes)

    @cached_property
    def photos(self) -> PhotoFinder:
        """Finds products' photos; the pattern is guessed from the first products if none is given."""
        finder = PhotoFinder(self.source.images, files=self._photo_files)
        pattern = self.source.photo_pattern
        if pattern is None:
            first = collect(self.scan.select("id").head(_NUM_GUESSED_FROM), self.source.table)
            pattern = guess_pattern(finder, first["id"].drop_nulls().to_list())
        return replace(finder, pattern=pattern)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of taxonomy, ids, categories, texts and labels: all that a model learns but photos."""
        digest = hashlib.sha256(self.taxonomy.to_json().encode())
        for part in self.table.select(pl.col("id").cast(pl.String)).iter_slices(_NUM_HASHED):
            digest.update("".join(f"{each}\n" for each in part["id"]).encode())
        if self.layout.text:
            for part in self.table.select("text").iter_slices(_NUM_HASHED):
                digest.update(repr(part["text"].to_list()).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes() + self.category_codes.tobytes())
        return digest.hexdigest()

    def with_repairs(self, file: Path) -> "Catalogue":
        """The same catalogue with the repairs in one more file, unless it has them already.

        Raises:
            CatalogueError: a file that cannot be read, or lacks a column.
        """
        if file.resolve() in {each.resolve() for each in self.source.repairs}:
            return self
        source = self.source.model_copy(update={"repairs": (*self.source.repairs, file)})
        return assemble(source, self.given, is_closed=self.is_closed)

    def products(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[Product]:
        """Some rows (or all) as products; their photos are not decoded yet."""
        chosen = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        table = self.table[chosen]
        off_list = [self._off_list.get(row, self._no_labels) for row in chosen.tolist()]
        labels = (
            [code if code is not None else text for code, text in zip(codes, texts, strict=True)]
            for codes, texts in zip(self._labels(table), off_list, strict=True)
        )
        return self._products(table, labels)

    def num_rows(self) -> int:
        """How many products `stream` yields, counted without holding the table in memory."""
        if self.streamed_rows is not None:
            return int(self.streamed_rows.sum())
        return int(collect(self.scan.select(pl.len()), self.source.table).item())

    def stream(self, num_rows: int) -> Iterator[list[Product]]:
        """Yield all products, or those in `streamed_rows`, `num_rows` at most at a time, read lazily.

        Raises:
            CatalogueError: the table turns out to be unreadable further down.
        """
        for part in self.stream_rows(self.scan, num_rows):
            yield self._products(part, self._labels(part))

    def stream_rows(self, frame: pl.LazyFrame, num_rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows that `stream` yields as tables; `frame` is a choice of the columns of `scan`.

        Raises:
            CatalogueError: as in `stream`.
        """
        is_row_by_row = is_parquet(self.source.table) and not self.repairs.columns
        collect_parts = collect_slices if is_row_by_row else collect_batches
        wanted = None if self.streamed_rows is None else np.append(self.streamed_rows, False)
        for part in collect_parts(frame, self.source.table, num_rows):
            if wanted is None:
                yield part
            else:  # rows beyond the last one wanted are not: "clip" looks them up at the end
                yield part.filter(pl.Series(np.take(wanted, part["row"], mode="clip")))

    def require_sound(self) -> None:
        """Refuse a table that cannot be worked with.

        Raises:
            CatalogueError: no rows, rows without an id, or repeated ids.
        """
        ids = self.scan.select("row", "id")
        if collect(ids.head(1), self.source.table).is_empty():
            raise CatalogueError(
                f"{self.source.table.name} has no rows.",
                hint="It needs a header and at least one product.",
            )
        if not self._may_be_repeated(ids):
            return
        repeated = collect(
            ids.filter(pl.col("id").is_duplicated() | pl.col("id").is_null()).head(5),
            self.source.table,
        )
        if repeated.height:
            row, each = repeated.row(0)
            what = f"The id {each!r} occurs more than once" if each is not None else "There is no id"
            raise CatalogueError(
                f"{what} (row {row} of {self.source.table.name}).",
                hint="Ids must be unique. `facetry check` lists every such row.",
            )

    def _may_be_repeated(self, ids: pl.LazyFrame) -> bool:
        """Whether an id is missing or, by its hash, may occur twice; takes eight bytes a row."""
        num_missing, hashes = 0, [np.empty(0, dtype=np.uint64)]
        for part in collect_batches(ids.select("id"), self.source.table, _NUM_HASHED):
            num_missing += part["id"].null_count()
            hashes.append(part["id"].hash().to_numpy())
        ordered = np.concatenate(hashes)
        ordered.sort()
        return num_missing > 0 or bool((ordered[1:] == ordered[:-1]).any())

    def list_photos(self, reporter: Reporter) -> None:
        """List photos that are objects now, showing progress, rather than when the first is looked for.

        Raises:
            StorageUnavailable: their bucket cannot be used.
        """
        if isinstance(self._photo_files, ObjectFiles):
            self._photo_files.list_all(reporter)

    @cached_property
    def _photo_files(self) -> PhotoFiles | None:
        return photo_files(self.source.images) if self.source.images else None

    def require_photos(self) -> None:
        """Refuse a catalogue without a photo folder.

        Raises:
            CatalogueError: there is no photo folder.
        """
        if self.source.images is None:
            raise CatalogueError(
                f"{self.source.table.name} has no photo folder.", hint=self.folder_advice
            )

    @property
    def folder_advice(self) -> str:
        """What to do if there is no photo folder: name it, or download the photos."""
        cells = collect(self.scan.select("photo").head(_NUM_GUESSED_FROM), self.source.table)["photo"]
        return DOWNLOAD if any(map(is_address, cells.drop_nulls())) else NAME_PHOTO_FOLDER

    @cached_property
    def _off_list(self) -> dict[int, tuple[str | None, ...]]:
        """Row -> in each slot the value that the taxonomy does not list, or None; only rows with any."""
        texts = [
            pl.when(self._code(slot).is_null()).then(pl.col(f"label_{slot}")).alias(f"label_{slot}")
            for slot in range(self.taxonomy.num_slots)
        ]
        is_known = pl.col("category").is_in(self.taxonomy.categories)
        has_some = pl.any_horizontal(pl.exclude("index").is_not_null())
        rows = (
            self.scan.with_row_index("index").filter(is_known).select("index", *texts).filter(has_some)
        )
        return {index: tuple(values) for index, *values in collect(rows, self.source.table).iter_rows()}

    @property
    def _no_labels(self) -> tuple[None, ...]:
        return (None,) * self.taxonomy.num_slots

    def _labels(self, table: pl.DataFrame) -> Iterable[Sequence[int | str | None]]:
        """The labels of each row, by slot."""
        columns = (f"label_{slot}" for slot in range(self.taxonomy.num_slots))
        return zip(*(table[column].to_list() for column in columns), strict=True)

    def _products(
        self, table: pl.DataFrame, labels: Iterable[Sequence[int | str | None]]
    ) -> list[Product]:
        rows = zip(
            *(table[name].to_list() for name in ("id", "category", "photo", "text", "page")),
            labels,
            strict=True,
        )
        products = []
        for id_, category, photo, text, page, slots in rows:
            paths, problem = self.photos.find(id_, photo, category)
            products.append(
                Product(
                    id=id_,
                    category=category or "",
                    photos=paths,
                    text=text,
                    page=page,
                    labels=self.taxonomy.decode_labels(category, slots),
                    digest=self.photos.state(paths),
                    problem=problem,
                )
            )
        return products

    def _code(self, slot: int) -> pl.Expr:
        """A slot's labels as indices into the values of the row's head; null for any other text."""
        codes = {
            f"{category}\0{value}": code
            for (category, value), code in self.taxonomy.slot_codes(slot).items()
        }
        key = pl.col("category") + "\0" + pl.col(f"label_{slot}")
        if not codes:
            return pl.lit(None, pl.Int16)
        return key.replace_strict(codes, default=None, return_dtype=pl.Int16)
