"""Read and write the file of repairs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import polars as pl

from facetry.catalogue.cells import CellReader, clean_text
from facetry.catalogue.scan import ROW_NUMBER, collect, column_names, scan
from facetry.catalogue.source import Source, Values
from facetry.catalogue.table import actual_column, refuse_nested
from facetry.errors import CatalogueError, nearest
from facetry.product import ProductId
from facetry.runtime.files import hold_lock, writing
from facetry.runtime.resumable import stopped_hint

_NEEDED: Final = ("id", "category", "attribute", "old", "new")
_COLUMNS: Final = (*_NEEDED, "who", "when", "chosen")

RANDOM: Final = "random"
"""How a cell was chosen for a person to look at, if it was drawn at random."""

_SUGGESTED: Final = "suggested"
_PARQUET: Final = {".parquet", ".pq"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One correction; "" for no label. `when` is a time in ISO 8601.

    `chosen` says how the cell came to be looked at: `RANDOM`, or any other word. Only what was drawn at
    random says how often a model is right.
    """

    id: ProductId
    category: str
    attribute: str
    old: str = ""
    new: str = ""
    who: str = ""
    when: str = ""
    chosen: str = ""


def write_repairs(path: Path, repairs: Sequence[Repair]) -> None:
    """Append to a repair file, or create it; several processes may do so at once.

    Raises:
        CatalogueError: the file exists and is not a repair file.
    """
    rows = [{name: str(cell) for name, cell in asdict(repair).items()} for repair in repairs]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(_COLUMNS, pl.String))
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(path.parent):
        if path.exists():
            raw = scan(Source(table=path))
            known = {column: name for name, column in _find_columns(path, column_names(raw)).items()}
            before = collect(raw.drop(ROW_NUMBER), path).rename(known).cast(pl.String)
            frame = pl.concat([before, frame], how="diagonal")
        with writing(path) as draft:
            if path.suffix.lower() in _PARQUET:
                frame.write_parquet(draft)
            else:
                frame.write_csv(draft)


_LABELS = CellReader(values=Values(missing_values=(), not_applicable=()))


def read_repairs(file: Path) -> pl.DataFrame:
    """Read a repair file: `row` and its columns as cleaned text, null for an empty cell or no column.

    Raises:
        CatalogueError: a file that cannot be read, or lacks a column.
    """
    if not file.is_file():
        raise CatalogueError(f"There is no repair file {str(file)!r}.", hint=stopped_hint(file))
    raw = scan(Source(table=file, header_rows=1))
    columns = _find_columns(file, column_names(raw))
    schema = raw.collect_schema()
    refuse_nested(schema, list(columns.values()))
    cells = {
        name: (_LABELS.label if name in {"old", "new"} else clean_text)(schema, column)
        for name, column in columns.items()
    }
    missing = {name: pl.lit(None, pl.String) for name in _COLUMNS if name not in columns}
    table = raw.select(row=pl.col(ROW_NUMBER).cast(pl.Int64), **cells, **missing)
    if columns["new"] == _SUGGESTED:  # findings: most of them suggest nothing
        table = table.drop_nulls("new")
    return collect(table, file)


def _find_columns(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Map the names of `_COLUMNS` to the file's columns, in any letter case.

    The findings of a check or an audit serve as they are: they name the columns `value` and `suggested`.

    Raises:
        CatalogueError: a column that is needed is missing.
    """
    found = {name: column for name in _COLUMNS if (column := actual_column(name, names))}
    if _SUGGESTED in names and "new" not in found:
        found |= {"old": "value", "new": _SUGGESTED}
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        hints = [f"{name!r}: {nearest(name, names)}" for name in missing]
        raise CatalogueError(
            f"The repair file {file.name} lacks columns: {', '.join(map(repr, missing))}.",
            hint="\n".join(
                [*hints, f"It needs {', '.join(_NEEDED)}, and may have who, when and chosen."]
            ),
        )
    return found
