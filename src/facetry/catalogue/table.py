"""Reading tables, CSV or Parquet, lazily, and renaming and cleaning their columns.

The result has the columns `row` (numbered as a spreadsheet does), `id`, `category`, `photo` (text or
null), `text`, and one per slot, `label_0` ... `label_{A-1}`, with cleaned values, null for "no label".

Shapes: A slots (attributes of the category that has most).
"""

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import polars as pl

from facetry.catalogue.malformed import first_fault, separator, wrong_encoding
from facetry.catalogue.source import Columns
from facetry.errors import CatalogueError, nearest
from facetry.taxonomy import NO_LABEL, Taxonomy

_SLOT = re.compile(r"attr_(\d+)", re.IGNORECASE)
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"
_WHOLE_FLOAT = r"^(0|-?[1-9]\d{0,14})\.0$"
# All white space that Python's str.split knows, but for the single space, which may stay.
_STRAY_SPACE = r"[\s\x1c-\x1f]{2,}|[^\S ]|[\x1c-\x1f]"
_NO_LABEL = f"^(?i:{'|'.join(sorted(NO_LABEL))})$"
_NOTHING = pl.lit(None, pl.String)
_TITLE = "title"
_SLICE_ROWS = 32_768

ROW_NUMBER = "(row)"
"""A scanned table's column of row numbers; in brackets, lest the file has a column of that name."""


def scan(table: Path) -> pl.LazyFrame:
    """Scan a table as it is, lazily, with a column `ROW_NUMBER`; CSV cells stay text.

    Blank lines of a CSV file are skipped but counted, so that row numbers stay right.

    Raises:
        CatalogueError: an empty file or one that is neither CSV nor Parquet.
    """
    if not table.is_file():
        raise CatalogueError(f"There is no table {str(table)!r}.")
    if is_parquet(table):
        frame = pl.scan_parquet(table, glob=False, row_index_name=ROW_NUMBER, row_index_offset=1)
    else:
        message, hint = wrong_encoding(table)
        if message:
            raise CatalogueError(message, hint=hint)
        frame = pl.scan_csv(
            table,
            glob=False,
            separator=separator(table),
            infer_schema=False,
            row_index_name=ROW_NUMBER,
            row_index_offset=2,  # a spreadsheet's row 1 is the header
        )
    frame = _guarded(frame, table)
    return frame if is_parquet(table) else _without_blank_lines(frame)


def _without_blank_lines(frame: pl.LazyFrame) -> pl.LazyFrame:
    cells = pl.col(column_names(frame))
    return frame.filter(pl.any_horizontal(cells.is_not_null()))


def column_names(raw: pl.LazyFrame) -> list[str]:
    """The columns of a scanned table, without `ROW_NUMBER`."""
    return [name for name in raw.collect_schema() if name != ROW_NUMBER]


def collect(frame: pl.LazyFrame, table: Path) -> pl.DataFrame:
    """Run a query over `table`; streamed, so that memory grows with the result, not with the table.

    Raises:
        CatalogueError: the file cannot be read; says where.
    """
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, error) from error


def collect_batches(
    frame: pl.LazyFrame, table: Path, num_rows: int
) -> Generator[pl.DataFrame, None, None]:
    """Run a query over `table` and yield at most `num_rows` rows at a time, in the table's order.

    Raises:
        CatalogueError: the file turns out to be unreadable further down.
    """
    try:
        for part in frame.collect_batches(chunk_size=num_rows, maintain_order=True):
            yield from part.iter_slices(num_rows)
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, error) from error


def collect_slices(
    frame: pl.LazyFrame, table: Path, num_rows: int
) -> Generator[pl.DataFrame, None, None]:
    """Do as `collect_batches` does, but without loading whole row groups of a Parquet file.

    Only for a query with one row for each of the table's: any other is computed anew for each slice.

    Raises:
        CatalogueError: the file turns out to be unreadable further down.
    """
    for start in count(0, _SLICE_ROWS):
        part = collect(frame.slice(start, _SLICE_ROWS), table)
        yield from part.iter_slices(num_rows)
        if part.height < _SLICE_ROWS:
            return


def unreadable(table: Path, error: Exception) -> CatalogueError:
    """The error to raise when reading `table` failed."""
    if isinstance(error, pl.exceptions.NoDataError):
        return CatalogueError(f"{table.name} is empty.", hint="It needs a header and at least one row.")
    message, hint = ("", "") if is_parquet(table) else first_fault(table)
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return CatalogueError(message or f"{table.name} cannot be read: {first_line}", hint=hint)


def is_parquet(table: Path) -> bool:
    """Whether a table is a Parquet file, by its name."""
    return table.suffix.lower() in {".parquet", ".pq"}


def _guarded(frame: pl.LazyFrame, table: Path) -> pl.LazyFrame:
    try:
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, error) from error
    return frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which columns of one table hold what. Labels are in `slots` or in `attributes`, never in both.

    `slots` are the columns `attr_1`, `attr_2`, ...; `attributes` pairs attributes with columns.
    `named_by` is the taxonomy that says which attribute of a category is in which slot; None for the
    one that is passed to the methods.
    """

    id: str
    category: str
    photo: str | None
    text: str | None
    slots: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    named_by: Taxonomy | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """All columns with labels, without repeats."""
        columns = [*self.slots, *(column for _, column in self.attributes)]
        return tuple(dict.fromkeys(column for column in columns if column))

    def columns_of(self, taxonomy: Taxonomy, category: str) -> dict[str, str]:
        """Map the attributes of `category` to columns; those without a column are left out."""
        attributes = taxonomy.attributes(category)
        by_attribute = dict(self.attributes) or self._slots_of(self.named_by or taxonomy, category)
        return {
            attribute: by_attribute[attribute] for attribute in attributes if by_attribute.get(attribute)
        }

    def _slots_of(self, taxonomy: Taxonomy, category: str) -> dict[str, str]:
        if category not in taxonomy.categories:
            return {}
        return dict(zip(taxonomy.attributes(category), self.slots, strict=False))


def find_layout(
    names: Sequence[str],
    columns: Columns,
    taxonomy: Taxonomy | None,
    *,
    named_by: Taxonomy | None = None,
) -> Layout:
    """Match the wanted columns with the table's, in any letter case.

    `named_by` is the table's own attribute list, if it has one: it says what `attr_1`, ... mean.

    Raises:
        CatalogueError: columns that the table does not have, all at once, with the nearest names.
    """
    missing = missing_columns(names, columns)
    if missing:
        raise CatalogueError(
            f"Missing columns: {', '.join(map(repr, missing))}.",
            hint="\n".join(
                [
                    *(f"{name!r}: {hint}" for name, hint in missing.items()),
                    "A catalogue.yaml can say which column holds what.",
                ]
            ),
        )
    attributes = _attribute_columns(names, columns, taxonomy)
    slots = () if attributes else _slots(names)
    return Layout(
        id=actual_column(columns.id, names) or columns.id,
        category=actual_column(columns.category, names) or columns.category,
        photo=actual_column(columns.photo, names),
        text=_text_column(names, columns, [*slots, *(column for _, column in attributes)]),
        slots=slots,
        attributes=attributes,
        named_by=named_by,
    )


def _text_column(names: Sequence[str], columns: Columns, labels: Sequence[str]) -> str | None:
    """The column with the text; if none is named, one called `title` that has no other use."""
    if columns.text is not None:
        return actual_column(columns.text, names)
    found = actual_column(_TITLE, names)
    taken = {actual_column(each, names) for each in (columns.id, columns.category, columns.photo)}
    return None if found in taken | set(labels) else found


def missing_columns(names: Sequence[str], columns: Columns) -> dict[str, str]:
    """The wanted columns that a table with the columns `names` lacks, each with a hint."""
    wanted = [columns.id, columns.category, columns.photo, columns.text]
    wanted += (columns.attributes or {}).values()
    return {
        name: nearest(name, names)
        for name in wanted
        if name is not None and actual_column(name, names) is None
    }


def actual_column(wanted: str | None, names: Sequence[str]) -> str | None:
    """The column called `wanted`, in that letter case if there is one; None if there is none."""
    if wanted is None or wanted in names:
        return wanted
    return next((name for name in names if name.casefold() == wanted.casefold()), None)


def _slots(names: Sequence[str]) -> tuple[str, ...]:
    """The columns `attr_1`, `attr_2`, ... by number, "" for a missing number."""
    numbered = {int(match[1]): name for name in names if (match := _SLOT.fullmatch(name))}
    return tuple(numbered.get(number, "") for number in range(1, max(numbered, default=0) + 1))


def _attribute_columns(
    names: Sequence[str], columns: Columns, taxonomy: Taxonomy | None
) -> tuple[tuple[str, str], ...]:
    """Pairs of attribute and column; none if the table's label columns are slots."""
    slots = [name for name in _slots(names) if name]
    if columns.attributes:
        wanted = columns.attributes
    elif taxonomy is None:  # nothing says what the slots mean: the columns' names become attributes
        wanted = {name: name for name in slots}
    else:
        wanted = {head.attribute: head.attribute for head in taxonomy.heads}
        if slots and not wanted.keys() & set(slots):
            return ()  # the slots have the labels, even if some column is named like an attribute
    found = {attribute: actual_column(column, names) for attribute, column in wanted.items()}
    return tuple((attribute, column) for attribute, column in found.items() if column)


def tidy(raw: pl.LazyFrame, layout: Layout, table: Path, *, extra: Sequence[str] = ()) -> pl.LazyFrame:
    """The table with `row`, `id`, `category`, `photo`, `text`, and the label columns, all cleaned.

    Label columns are renamed by `label_column`; `labels_to_slots` turns them into slots. The `extra`
    columns are added unchanged.

    Raises:
        CatalogueError: a column whose cells are lists or records where single values belong.
    """
    schema = raw.collect_schema()
    refuse_nested(schema, [layout.id, layout.category, *layout.labels, *extra])
    photo = _photo(schema, layout.photo)
    return raw.select(
        pl.col(ROW_NUMBER).alias("row"),
        _id(raw, layout.id, table).alias("id"),
        clean_text(schema, layout.category).alias("category"),
        photo.alias("photo"),
        (clean_text(schema, layout.text) if layout.text else _NOTHING).alias("text"),
        *(clean_label(schema, column).alias(label_column(column)) for column in layout.labels),
        *extra,
    )


def label_column(column: str) -> str:
    """The name of the label column `column` in a tidy table."""
    return f"label {column}"


def labels_to_slots(frame: pl.LazyFrame, layout: Layout, taxonomy: Taxonomy) -> pl.LazyFrame:
    """Turn a tidy table's label columns into slots: `label_0` is the category's first attribute."""
    slots = [
        _slot(number, layout, taxonomy).alias(f"label_{number}") for number in range(taxonomy.num_slots)
    ]
    return frame.select("row", "id", "category", "photo", "text", *slots)


def _slot(number: int, layout: Layout, taxonomy: Taxonomy) -> pl.Expr:
    """One slot's labels; categories that have them in the same column are handled together."""
    categories_by_column: dict[str, list[str]] = {}
    for category in taxonomy.categories:
        columns = layout.columns_of(taxonomy, category)
        for attribute in taxonomy.attributes(category)[number : number + 1]:
            categories_by_column.setdefault(columns.get(attribute, ""), []).append(category)
    if len(categories_by_column) == 1:  # the common case, and much faster
        (column,) = categories_by_column
        return pl.col(label_column(column)) if column else _NOTHING
    categories_by_column.pop("", None)
    chosen = _NOTHING
    for column, categories in categories_by_column.items():
        has_it = pl.col("category").is_in(categories)
        chosen = pl.when(has_it).then(pl.col(label_column(column))).otherwise(chosen)
    return chosen


def clean_text(schema: pl.Schema, column: str) -> pl.Expr:
    """A column as text without superfluous white space, null where nothing is left."""
    text = _as_text(schema, column).str.replace_all(_STRAY_SPACE, " ").str.strip_chars(" ")
    return pl.when(text == "").then(None).otherwise(text)


def clean_label(schema: pl.Schema, column: str) -> pl.Expr:
    """A column as values, null for every text that means "no label"; see `NO_LABEL`."""
    text = clean_text(schema, column)
    return pl.when(text.str.contains(_NO_LABEL)).then(None).otherwise(text)


def _as_text(schema: pl.Schema, column: str) -> pl.Expr:
    """A column as text; 3.0 as "3": pandas writes integers so if a cell of the column is missing."""
    cells = pl.col(column)
    if not schema[column].is_float():
        return cells.cast(pl.String)
    whole = cells.cast(pl.Int64, strict=False)
    text = pl.when(cells == whole).then(whole.cast(pl.String)).otherwise(cells.cast(pl.String))
    return pl.when(cells.is_nan()).then(None).otherwise(text)


def _photo(schema: pl.Schema, column: str | None) -> pl.Expr:
    if column is None:
        return _NOTHING
    if isinstance(schema[column], pl.List):
        return pl.col(column).list.join("|")
    refuse_nested(schema, [column])
    return _as_text(schema, column)


def _id(raw: pl.LazyFrame, column: str, table: Path) -> pl.Expr:
    """Ids as integers if every one is written as a plain integer, else as text."""
    schema = raw.collect_schema()
    if schema[column].is_integer() and schema[column] != pl.UInt64:
        return pl.col(column).cast(pl.Int64)
    text = clean_text(schema, column)
    plain, floats = (text.str.contains(each).all() for each in (_INTEGER, _WHOLE_FLOAT))
    is_plain, is_floats = collect(raw.select(plain.alias("plain"), floats.alias("floats")), table).row(0)
    if is_floats and not is_plain:  # pandas writes integers so if one is missing
        return text.str.strip_suffix(".0").cast(pl.Int64)
    return text.cast(pl.Int64) if is_plain else text


def refuse_nested(schema: pl.Schema, columns: Sequence[str]) -> None:
    """Refuse columns whose cells are lists or records.

    Raises:
        CatalogueError: there is such a column.
    """
    nested = [column for column in columns if schema[column].is_nested()]
    if nested:
        raise CatalogueError(
            f"Column {nested[0]!r} holds {schema[nested[0]]}, not single values.",
            hint="Only the photo column may hold lists (of file names).",
        )
