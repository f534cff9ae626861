"""Reads a file that somebody has changed and brought back: the shop's own form, or a repair file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from facetry.batch.fill.cells import columns_to_fill
from facetry.batch.fill.writers import format_of
from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.repairs.file import read_repairs
from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import Source
from facetry.catalogue.table import actual_column
from facetry.errors import CatalogueError
from facetry.review.reading import read_cells

_LEADING_ZEROS: Final = r"^0+(\d)"

ReturnedForm = Literal["table", "repairs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Returned:
    """What a file says.

    `rows` has `number`, the row in the file, `id`, null for none, and `category`; `cells` has `number`,
    `attribute` and `theirs`, of a repair file also `old`. `missing_columns` are columns with attributes
    that the shop's table has and the file has not.
    """

    form: ReturnedForm
    rows: pl.DataFrame
    cells: pl.DataFrame
    missing_columns: tuple[str, ...] = ()


def read_returned(path: Path, shop: Catalogue) -> Returned:
    """Read a file as the shop's catalogue is read, or as a file of repairs.

    Raises:
        CatalogueError: it cannot be read, or is not of this shop.
    """
    names = {each.casefold() for each in column_names(scan(Source(table=path)))}
    if {"id", "category", "attribute"} <= names and names & {"new", "suggested"}:
        return _read_repairs(path)
    return _read_table(path, shop)


def matched(rows: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """Rows with `own`, the id that the review has for theirs, null if it has none.

    Spreadsheet programs turn 00123 into 123: an id that is not there is looked for without its zeros,
    unless two products would be called so.
    """
    known = pl.DataFrame({"own": ids}).with_columns(bare=_bare("own"))
    unique = known.filter(pl.col("bare").is_unique())
    exact = rows.join(known.select("own", key="own"), left_on="id", right_on="key", how="left")
    loose = exact.with_columns(bare=_bare("id")).join(
        unique.select("bare", found="own"), on="bare", how="left"
    )
    return loose.select(*rows.columns, own=pl.coalesce("own", "found")).sort("number")


def _bare(name: str) -> pl.Expr:
    return pl.col(name).str.replace(_LEADING_ZEROS, "$1")


def _read_repairs(path: Path) -> Returned:
    read = read_repairs(path).with_columns(number="row")
    cells = read.unique(["id", "category", "attribute"], keep="last", maintain_order=True)
    cells = cells.filter(pl.col("id").is_not_null(), pl.col("attribute").is_not_null())
    return Returned(
        form="repairs",
        rows=read.select("number", "id", "category"),
        cells=cells.select("number", "attribute", "old", theirs="new"),
    )


def _read_table(path: Path, shop: Catalogue) -> Returned:
    opened = _open(path, shop)
    wanted, found = columns_to_fill(shop, ()), columns_to_fill(opened, ())
    if not found:
        raise CatalogueError(
            "The file has none of the shop's columns with attributes.",
            hint=f"Bring back a file that was exported here. The columns are: {', '.join(wanted)}.",
        )
    frame = opened.scan.select(pl.col("id").cast(pl.String), "category", number="row")
    rows = collect(frame, path)
    if rows.is_empty():
        raise CatalogueError("The file has no rows.", hint="It needs a header and products.")
    return Returned(
        form="table",
        rows=rows,
        cells=read_cells(opened).select("number", "attribute", theirs="said"),
        missing_columns=tuple(each for each in wanted if actual_column(each, found) is None),
    )


def _open(path: Path, shop: Catalogue) -> Catalogue:
    """The catalogue with the file as its table; what was chosen by hand is tried if guesses fail.

    Raises:
        CatalogueError: it lacks columns, or cannot be read.
    """
    errors = []
    for source in _sources(path, shop.source):
        try:
            names = column_names(scan(source))
            return assemble(_with_columns(source, names), shop.given, is_closed=True)
        except CatalogueError as error:
            errors.append(error)
    raise CatalogueError(
        f"The file is not of this shop: {errors[0].message}",
        hint=errors[0].hint or "Bring back a file that was exported here.",
    )


def _sources(path: Path, shop: Source) -> Iterator[Source]:
    """How the file may have to be read: a spreadsheet program may have saved it in another way."""
    is_same = path.suffix.lower() == format_of(shop.table)
    own: dict[str, object] = {"table": path, "repairs": ()}
    kept: dict[str, object] = {} if is_same else {"sheet": None, "header_rows": ()}
    yield shop.model_copy(update={**own, **kept, "delimiter": None, "encoding": None})
    yield shop.model_copy(update={**own, **kept})
    yield shop.model_copy(update={**own, "sheet": None, "header_rows": ()})


def _with_columns(source: Source, names: list[str]) -> Source:
    """The source without the columns that the file may lack: all but id and category."""
    columns = source.columns
    optional = {role: actual_column(getattr(columns, role), names) for role in ("photo", "text", "page")}
    attributes = {
        attribute: column
        for attribute, column in (columns.attributes or {}).items()
        if actual_column(column, names) is not None
    }
    kept = columns.model_copy(update={**optional, "attributes": attributes or None})
    return source.model_copy(update={"columns": kept})
