"""Tables in: CSV or Parquet, read lazily and brought to one form, whatever the columns were called.

The form: `row` (as a spreadsheet counts), `id`, `category`, `photo` (text or null), `text`, and one
column per slot, `label_0` ... `label_{A-1}`, holding cleaned value texts with null for "no label".
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from facetry.catalogue.source import Columns
from facetry.errors import CatalogueError, nearest
from facetry.taxonomy import NO_LABEL, Taxonomy

_SLOT = re.compile(r"attr_(\d+)")
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"


def scan(table: Path) -> pl.LazyFrame:
    """The table, lazily, with its row numbers; CSV cells stay text.

    Raises:
        CatalogueError: an empty file or one that is neither CSV nor Parquet.
    """
    if not table.is_file():
        raise CatalogueError(f"There is no table {str(table)!r}.")
    if table.suffix.lower() in {".parquet", ".pq"}:
        frame = pl.scan_parquet(table, row_index_name="row", row_index_offset=1)
    else:
        frame = pl.scan_csv(
            table,
            separator=_separator(table),
            infer_schema=False,
            row_index_name="row",
            row_index_offset=2,  # a spreadsheet's row 1 is the header
        )
    return _guarded(frame, table)


def collect(frame: pl.LazyFrame, table: Path) -> pl.DataFrame:
    """Run a query over `table`.

    Raises:
        CatalogueError: the file cannot be read; says where.
    """
    try:
        return frame.collect()
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, error) from error


def unreadable(table: Path, error: Exception) -> CatalogueError:
    """What to say when reading `table` failed."""
    place = "" if table.suffix.lower() in {".parquet", ".pq"} else _first_bad_byte(table)
    if place:
        return CatalogueError(
            f"{table.name} is not UTF-8 text: {place}.",
            hint="Save it as 'CSV UTF-8', or convert it: iconv -f latin1 -t utf-8 IN > OUT",
        )
    if isinstance(error, pl.exceptions.NoDataError):
        return CatalogueError(f"{table.name} is empty.", hint="It needs a header and at least one row.")
    return CatalogueError(f"{table.name} cannot be read: {str(error).splitlines()[0]}")


def _guarded(frame: pl.LazyFrame, table: Path) -> pl.LazyFrame:
    try:
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise unreadable(table, error) from error
    return frame


def _separator(table: Path) -> str:
    """The delimiter that the header holds most often."""
    with table.open("rb") as file:
        header = file.readline(1 << 20)
    return max(",;\t", key=lambda each: header.count(each.encode()))


def _first_bad_byte(table: Path) -> str:
    """Where a file stops being UTF-8; "" if it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with table.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError as error:
                return f"line {number}, byte {error.start + 1} is 0x{error.object[error.start]:02x}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which columns of one table hold what. `labels` are slot columns or, by name, attributes."""

    id: str
    category: str
    photo: str | None
    text: str | None
    slots: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


def find_layout(names: Sequence[str], columns: Columns, taxonomy: Taxonomy | None) -> Layout:
    """Match the wanted columns with the table's, all missing ones reported at once.

    Raises:
        CatalogueError: a column that the table does not have, with the nearest name.
    """
    folded = {name.casefold(): name for name in names}
    asked = [columns.id, columns.category, columns.photo, columns.text, *(columns.attributes or {}).values()]
    missing = [name for name in asked if name and name not in names and name.casefold() not in folded]
    if missing:
        hints = [f"{name!r}: {nearest(name, names)}" for name in missing]
        raise CatalogueError(f"Missing columns: {', '.join(map(repr, missing))}.", hint="\n".join(hints))

    def actual(name: str | None) -> str | None:
        return None if name is None else name if name in names else folded[name.casefold()]

    numbered = {int(match[1]): name for name in names if (match := _SLOT.fullmatch(name))}
    slots = [numbered.get(number, "") for number in range(1, max(numbered, default=0) + 1)]
    attributes = _attribute_columns(names, columns, taxonomy)
    return Layout(
        id=str(actual(columns.id)),
        category=str(actual(columns.category)),
        photo=actual(columns.photo),
        text=actual(columns.text),
        slots=() if attributes else tuple(slots),
        attributes=attributes,
    )


def _attribute_columns(
    names: Sequence[str], columns: Columns, taxonomy: Taxonomy | None
) -> tuple[tuple[str, str], ...]:
    """Attribute and column, where columns stand for attributes rather than for slots."""
    if columns.attributes:
        return tuple(columns.attributes.items())
    if taxonomy is None:  # nothing says what the slots mean: they are called as their columns
        return tuple((name, name) for name in names if _SLOT.fullmatch(name))
    attributes = dict.fromkeys(head.attribute for head in taxonomy.heads)
    return tuple((name, name) for name in attributes if name in names)


def tidy(frame: pl.LazyFrame, layout: Layout, table: Path) -> pl.LazyFrame:
    """The table with `row`, `id`, `category`, `photo`, `text`, and the label columns cleaned.

    Label columns keep their names; `place_labels` brings them into slots.
    """
    labels = [name for name in layout.slots if name] + [column for _, column in layout.attributes]
    return frame.select(
        "row",
        _id(frame, layout.id, table).alias("id"),
        _cleaned(layout.category).alias("category"),
        _photo(frame, layout.photo).alias("photo"),
        _text(layout.text).alias("text"),
        *(_label(column).alias(f"label {column}") for column in dict.fromkeys(labels)),
    )


def place_labels(frame: pl.LazyFrame, layout: Layout, taxonomy: Taxonomy) -> pl.LazyFrame:
    """Bring a tidy table's labels into slots: `label_k` is the k-th attribute of the row's category."""
    by_attribute = dict(layout.attributes)

    def slot(number: int) -> pl.Expr:
        if layout.slots or not by_attribute:
            column = layout.slots[number] if number < len(layout.slots) else ""
            return pl.col(f"label {column}") if column else pl.lit(None, pl.String)
        chosen = pl.lit(None, pl.String)
        for category in taxonomy.categories:
            attributes = taxonomy.attributes(category)
            if number < len(attributes) and attributes[number] in by_attribute:
                column = f"label {by_attribute[attributes[number]]}"
                is_category = pl.col("category") == category
                chosen = pl.when(is_category).then(pl.col(column)).otherwise(chosen)
        return chosen

    slots = [slot(number).alias(f"label_{number}") for number in range(taxonomy.num_slots)]
    return frame.select("row", "id", "category", "photo", "text", *slots)


def _cleaned(column: str) -> pl.Expr:
    text = pl.col(column).cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars(" ")
    return pl.when(text == "").then(None).otherwise(text)


def _label(column: str) -> pl.Expr:
    text = _cleaned(column)
    return pl.when(text.str.to_lowercase().is_in(sorted(NO_LABEL))).then(None).otherwise(text)


def _text(column: str | None) -> pl.Expr:
    return _cleaned(column) if column else pl.lit(None, pl.String)


def _photo(frame: pl.LazyFrame, column: str | None) -> pl.Expr:
    if column is None:
        return pl.lit(None, pl.String)
    if isinstance(frame.collect_schema()[column], pl.List):
        return pl.col(column).list.join("|")
    return pl.col(column).cast(pl.String)


def _id(frame: pl.LazyFrame, column: str, table: Path) -> pl.Expr:
    """Ids as integers where every one is written as a plain integer, else as the text they are."""
    dtype = frame.collect_schema()[column]
    if dtype.is_integer():
        return pl.col(column).cast(pl.Int64)
    text = pl.col(column).cast(pl.String)
    if dtype.is_float():  # what pandas makes of integers beside a missing one
        text = text.str.strip_suffix(".0")
    plain = collect(frame.select(text.str.contains(_INTEGER).all()), table).item()
    return text.cast(pl.Int64) if plain else text
