"""Which writer a table's format has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from facetry.batch.fill.config import Added, TableWriter
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.scan import dialect_of, is_json_lines, is_parquet, scan
from facetry.catalogue.spreadsheet import is_spreadsheet
from facetry.errors import SettingError

_CONVERTED: Final = {".xls": ".xlsx", ".ods": ".xlsx"}


def open_writer(
    catalogue: Catalogue, draft: Path, *, added: Sequence[Added] = (), dropped: Sequence[str] = ()
) -> TableWriter:
    """The writer of a copy of a catalogue's table, with columns `added` or `dropped`."""
    source, id_column = catalogue.source, catalogue.layout.id
    if is_spreadsheet(source.table):
        raise NotImplementedError
    if is_parquet(source.table):
        from facetry.batch.fill.parquet import ParquetWriter

        return ParquetWriter(source.table, draft, id_column=id_column, added=added, dropped=dropped)
    if is_json_lines(source.table):
        from facetry.batch.fill.json_lines import open_json_lines

        return open_json_lines(
            source.table,
            draft,
            scan(source).collect_schema(),
            id_column=id_column,
            added=added,
            dropped=dropped,
        )
    from facetry.batch.fill.delimited import open_delimited

    return open_delimited(
        source.table, draft, dialect_of(source), id_column=id_column, added=added, dropped=dropped
    )


def require_format(table: Path, out: Path) -> None:
    """Refuse an output whose name says another format than the table's.

    Raises:
        SettingError: it does.
    """
    kind = format_of(table)
    if out.suffix.lower() == kind or (_is_text(table) and _is_text(out)):
        return
    raise SettingError(
        f"{table.name} is filled in as {kind}, not as {out.suffix or 'a file without an ending'}.",
        hint=f"Write: --out {out.with_suffix(kind)}",
    )


def format_of(table: Path) -> str:
    """The ending of the file that a table becomes: its own, but .xlsx for .xls and .ods."""
    return _CONVERTED.get(table.suffix.lower(), table.suffix.lower())


def _is_text(table: Path) -> bool:
    return not (is_spreadsheet(table) or is_parquet(table) or is_json_lines(table))
