"""Reading a catalogue's table, of any format, lazily, as it is: every cell of a text file stays text."""

from collections.abc import Generator
from itertools import count
from pathlib import Path

import polars as pl

from facetry.catalogue.delimited import Dialect, find_dialect, first_fault, scan_delimited
from facetry.catalogue.source import Source
from facetry.catalogue.spreadsheet import is_spreadsheet, scan_spreadsheet
from facetry.errors import CatalogueError

_SLICE_ROWS = 32_768
_MOST_COLUMNS = 4096

POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What polars raises on a damaged Parquet file: a panic, too, which is no `Exception`."""

ROW_NUMBER = "(row)"
"""A scanned table's column of row numbers; in brackets, lest the file has a column of that name."""


def scan(source: Source) -> pl.LazyFrame:
    """Scan a table as it is, lazily, with a column `ROW_NUMBER`; cells of a text file stay text.

    Row numbers are those of a spreadsheet; of Parquet and JSON lines, they count from 1. Blank rows are
    skipped but counted.

    Raises:
        CatalogueError: a file that is missing, empty or not what its name says.
    """
    table = source.table
    if not table.is_file():
        raise CatalogueError(f"There is no table {str(table)!r}.")
    if is_spreadsheet(table):
        frame, _ = scan_spreadsheet(table, source.sheet, source.header_rows)
    elif is_parquet(table):
        frame = pl.scan_parquet(table, glob=False, row_index_name=ROW_NUMBER, row_index_offset=1)
    elif is_json_lines(table):
        frame = pl.scan_ndjson(
            table, infer_schema_length=None, row_index_name=ROW_NUMBER, row_index_offset=1
        )
    else:
        frame = scan_delimited(table, dialect_of(source))
    frame = _guarded(frame, table)
    _require_names(column_names(frame), table)
    return frame if is_parquet(table) else _without_blank_lines(frame)


def dialect_of(source: Source) -> Dialect:
    """How a source's text file holds its table."""
    return find_dialect(
        source.table,
        delimiter=source.delimiter,
        encoding=source.encoding,
        header_rows=source.header_rows,
    )


def _require_names(names: list[str], table: Path) -> None:
    """Refuse a header of very many columns, and names that polars takes for patterns of names."""
    if len(names) > _MOST_COLUMNS:
        raise CatalogueError(
            f"{table.name} has {len(names):,} columns; at most {_MOST_COLUMNS:,} are read.",
            hint="Leave out those that are not needed, or check how the file separates its cells.",
        )
    for name in names:
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise CatalogueError(
                f"{table.name} has a column called {name!r}, which cannot be read.",
                hint="Rename it: a name may neither be '*' nor begin with '^' and end with '$'.",
            )


def _without_blank_lines(frame: pl.LazyFrame) -> pl.LazyFrame:
    cells = pl.col([name for name in frame.collect_schema() if name != ROW_NUMBER])
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
    except POLARS_ERRORS as error:
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
    except POLARS_ERRORS as error:
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


def unreadable(table: Path, error: BaseException) -> CatalogueError:
    """The error to raise when reading `table` failed."""
    if isinstance(error, pl.exceptions.NoDataError):
        return CatalogueError(f"{table.name} is empty.", hint="It needs a header and at least one row.")
    is_text = not (is_parquet(table) or is_json_lines(table) or is_spreadsheet(table))
    # A header that is not in the first row may have been taken for it because of the fault.
    headers: tuple[tuple[int, ...], ...] = ((), (1,)) if is_text else ()
    faults = (first_fault(table, find_dialect(table, header_rows=each)) for each in headers)
    message, hint = next((each for each in faults if each[0]), ("", ""))
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return CatalogueError(
        message or f"{table.name} cannot be read: {first_line}",
        hint=hint or "Check that it is complete, and that its name ends as its format does.",
    )


def is_parquet(table: Path) -> bool:
    """Whether a table is a Parquet file, by its name."""
    return table.suffix.lower() in {".parquet", ".pq"}


def is_json_lines(table: Path) -> bool:
    """Whether a table is a file of JSON lines, by its name."""
    return table.suffix.lower() in {".jsonl", ".ndjson"}


def _guarded(frame: pl.LazyFrame, table: Path) -> pl.LazyFrame:
    try:
        frame.collect_schema()
    except POLARS_ERRORS as error:
        raise unreadable(table, error) from error
    return frame
