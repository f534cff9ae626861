"""The cells of a table's attribute columns, a row for each, and the shop's own spelling of values.

A frame of cells has the columns `row`, `id`, `category`, `column`, `attribute` (null if the category has
none in this column), `text` (the cell, cleaned), `state` (one of `CELL_STATES`), `own` (its label),
`repair` (a label that a file of repairs gives it, else null), `is_removed` (such a file takes its label
away), and those of the record of earlier fills: `filled` (the text that was written, null for none),
`raw`, `shown_confidence`, `shown_source`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.batch.fill.config import REPAIR
from facetry.batch.fill.record import Record, fill_folder, read_record
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.cells import BLANK, KNOWN, NOT_APPLICABLE, clean_text
from facetry.catalogue.scan import collect, collect_batches, collect_slices, is_parquet, scan
from facetry.catalogue.table import label_column, tidy
from facetry.errors import CatalogueError, SettingError, nearest

_NUM_ROWS = 32_768  # of the table in memory at one time

IS_OWN = pl.col("filled").is_not_null() & pl.col("text").eq_missing(pl.col("filled"))
"""A cell that holds what a fill wrote."""

IS_CORRECTED = pl.col("filled").is_not_null() & pl.col("text").ne_missing(pl.col("filled"))
"""A cell that a fill wrote and a person has changed or emptied since."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The cells of some `columns` of a table, of which a `record` says what was filled before."""

    catalogue: Catalogue
    columns: tuple[str, ...]
    record: Record

    def parts(self) -> Iterator[pl.DataFrame]:
        """All cells in the table's order, some rows at a time."""
        table, frame = self.catalogue.source.table, self._frame
        is_row_by_row = is_parquet(table) and not self.catalogue.repairs.columns
        for part in (collect_slices if is_row_by_row else collect_batches)(frame, table, _NUM_ROWS):
            cells = pl.concat([self._of(part, column) for column in self.columns])
            yield self.record.join(cells.sort("row", maintain_order=True))

    @cached_property
    def attributes(self) -> Mapping[str, Mapping[str, str]]:
        """Column -> category -> the attribute whose values the column holds."""
        taxonomy, layout = self.catalogue.taxonomy, self.catalogue.layout
        found: dict[str, dict[str, str]] = {column: {} for column in self.columns}
        for category in taxonomy.categories:
            for attribute, column in layout.columns_of(taxonomy, category).items():
                found.get(column, {})[category] = attribute
        return found

    @cached_property
    def spellings(self) -> pl.DataFrame:
        """The most frequent spelling of each value in each column: column, value, spelling."""
        raw = scan(self.catalogue.source)
        schema, reader = raw.collect_schema(), self.catalogue.layout.cells
        frames = [_NO_SPELLINGS]
        for column in self.columns:
            is_one = (reader.state(schema, column) == KNOWN) & ~reader.holds_several(schema, column)
            counts = raw.filter(is_one).group_by(
                value=reader.label(schema, column), spelling=clean_text(schema, column)
            )
            found = collect(counts.len(), self.catalogue.source.table)
            best = found.sort("len", "spelling", descending=[True, False]).unique("value", keep="first")
            frames.append(best.select(pl.lit(column).alias("column"), "value", "spelling"))
        return pl.concat(frames)

    @cached_property
    def _frame(self) -> pl.LazyFrame:
        source, layout = self.catalogue.source, self.catalogue.layout
        raw = scan(source)
        schema = raw.collect_schema()
        extra = {}
        for column in self.columns:
            extra[f"text {column}"] = clean_text(schema, column)
            extra[f"state {column}"] = layout.cells.state(schema, column)
            extra[f"own {column}"] = layout.cells.label(schema, column)
        clean = tidy(raw.with_columns(**extra), layout, source.table, extra=list(extra))
        return self.catalogue.repairs.apply(clean)

    def _of(self, part: pl.DataFrame, column: str) -> pl.DataFrame:
        attribute = pl.col("category").replace_strict(
            self.attributes[column], default=None, return_dtype=pl.String
        )
        own, label = pl.col(f"own {column}"), pl.col(label_column(column))
        return part.select(
            "row", "id", "category",
            column=pl.lit(column),
            attribute=attribute,
            text=f"text {column}",
            state=f"state {column}",
            own=own,
            repair=pl.when(label.ne_missing(own)).then(label),
            is_removed=label.is_null() & own.is_not_null(),
        )  # fmt: skip


_NO_SPELLINGS = pl.DataFrame(schema=dict.fromkeys(("column", "value", "spelling"), pl.String))


def columns_to_fill(catalogue: Catalogue, only: Sequence[str]) -> tuple[str, ...]:
    """The columns with attributes that the catalogue's taxonomy has; those that `only` names, if any.

    Raises:
        SettingError: a name in `only` that is neither such a column nor an attribute in one.
    """
    taxonomy, layout = catalogue.taxonomy, catalogue.layout
    names: dict[str, list[str]] = {}
    for category in taxonomy.categories:
        for attribute, column in layout.columns_of(taxonomy, category).items():
            names.setdefault(attribute, []).append(column)
    columns = [each for each in layout.labels if any(each in found for found in names.values())]
    if not only:
        return tuple(columns)
    for name in only:
        if name not in columns and name not in names:
            raise SettingError(
                f"{name!r} is no column that the model can fill.",
                hint=f"{nearest(name, columns)} It fills: {', '.join(columns)}.",
            )
    wanted = {column for name in only for column in ([name] if name in columns else names[name])}
    return tuple(column for column in columns if column in wanted)


def not_applicable(catalogue: Catalogue) -> NDArray[np.bool_]:
    """Which cells (N, A) say that a product has no such attribute: no value is right there."""
    taxonomy = catalogue.taxonomy
    is_none = np.zeros(catalogue.labels.shape, dtype=bool)
    indices = {row: index for index, row in enumerate(catalogue.table["row"].to_list())}
    cells = Cells(catalogue=catalogue, columns=columns_to_fill(catalogue, ()), record=Record())
    for part in cells.parts():
        said = part.filter(
            pl.col("state") == NOT_APPLICABLE,
            pl.col("attribute").is_not_null(),
            pl.col("repair").is_null(),
        )
        for row, category, attribute in said.select("row", "category", "attribute").iter_rows():
            is_none[indices[row], taxonomy.attributes(category).index(attribute)] = True
    return is_none


def is_open(catalogue: Catalogue, *, replaces_known: bool) -> pl.Expr:
    """Whether a cell may be filled.

    It is blank and not a cell that a person has emptied; or it holds a value that the model knows, if
    known values are to be replaced.
    """
    is_wanted = pl.col("state") == BLANK
    if replaces_known:
        listed = [
            f"{head.category}\0{head.attribute}\0{value}"
            for head in catalogue.taxonomy.heads
            for value in head.values
        ]
        key = pl.concat_str("category", "attribute", "own", separator="\0")
        is_wanted |= (pl.col("state") == KNOWN) & key.is_in(listed)
    return pl.col("attribute").is_not_null() & ~IS_CORRECTED & is_wanted


def is_repaired() -> pl.Expr:
    """Whether a file of repairs says something else of a cell, which no person has changed since."""
    is_other = pl.col("repair").is_not_null() | pl.col("is_removed")
    return pl.col("attribute").is_not_null() & ~IS_CORRECTED & is_other


def require_own_labels(catalogue: Catalogue) -> None:
    """Refuse to take what a model has filled in for labels, which people give.

    Without the record, only the columns that a fill has added tell.

    Raises:
        CatalogueError: the table has values that a fill has written, by the record beside it, or by
            columns that say so.
        FolderDamaged: that record cannot be read.
    """
    table, columns = catalogue.source.table, columns_to_fill(catalogue, ())
    if not columns:
        return
    if not fill_folder(table).is_dir():
        _refuse_marked(catalogue, columns)
        return
    cells = Cells(catalogue=catalogue, columns=columns, record=read_record(table))
    is_filled = IS_OWN & pl.col("shown_source").ne_missing(REPAIR) & pl.col("repair").is_null()
    num_filled = sum(part.filter(is_filled).height for part in cells.parts())
    if num_filled:
        raise CatalogueError(
            f"{num_filled:,} values in {table.name} were filled in by a model: they are no labels.",
            hint="Name the table that was filled; or take them back: facetry fill MODEL TABLE --out "
            f"{table.name} --undo. Labels that people gave can be in a file of repairs.",
        )


_MARKS = {"action": "fill", "source": "model "}
"""How texts begin, in columns beside that of an attribute, where a model has filled it in."""


def _refuse_marked(catalogue: Catalogue, columns: Sequence[str]) -> None:
    """Refuse a table whose columns say that a fill has written into it; its record is elsewhere."""
    table, raw = catalogue.source.table, scan(catalogue.source)
    schema = raw.collect_schema()
    marks = {f"{column} {shown}": text for column in columns for shown, text in _MARKS.items()}
    marks = {name: text for name, text in marks.items() if name in schema}
    if not marks:
        return
    is_filled = [clean_text(schema, name).str.starts_with(text).any() for name, text in marks.items()]
    found = collect(raw.select(pl.any_horizontal(is_filled).alias("found")), table)
    if found.item():
        raise CatalogueError(
            f"{table.name} has values that a model filled in: {', '.join(map(repr, marks))} say so. "
            "They are no labels.",
            hint=f"Name the table that was filled; or put {fill_folder(table).name}, the record of the "
            "fill, beside it and take them back with --undo.",
        )
