"""Which writer a table's format has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from facetry.batch.fill.config import Added, TableWriter
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.scan import column_names, dialect_of, is_json_lines, is_parquet, scan
from facetry.catalogue.spreadsheet import is_spreadsheet, scan_spreadsheet
from facetry.errors import SettingError

_CONVERTED: Final = {".xls": ".xlsx", ".ods": ".xlsx"}


def open_writer(
    catalogue: Catalogue, draft: Path, *, added: Sequence[Added] = (), dropped: Sequence[str] = ()
) -> TableWriter:
    """The writer of a copy of a catalogue's table, with columns `added` or `dropped`.

    `added` may name columns that the table has already.
    """
    source, id_column = catalogue.source, catalogue.layout.id
    if is_spreadsheet(source.table):
        return _open_workbook(catalogue, draft, added, dropped)
    names = column_names(scan(source))
    added = [each for each in added if each.name not in names]
    if is_parquet(source.table):
        from facetry.batch.fill.parquet import ParquetWriter

        return ParquetWriter(
            source.table,
            draft,
            id_column=id_column,
            labels=catalogue.layout.labels,
            added=added,
            dropped=dropped,
        )
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


def _open_workbook(
    catalogue: Catalogue, draft: Path, added: Sequence[Added], dropped: Sequence[str]
) -> TableWriter:
    from facetry.batch.fill.convert import as_xlsx
    from facetry.batch.fill.workbook import SheetLayout, WorkbookWriter

    source = catalogue.source
    _, header = scan_spreadsheet(source.table, source.sheet, source.header_rows)
    is_converted = source.table.suffix.lower() in _CONVERTED
    book = as_xlsx(source.table, source.sheet, header) if is_converted else source.table.open("rb")
    layout = SheetLayout(sheet=source.sheet, header=header, id_column=catalogue.layout.id)
    return WorkbookWriter(book, draft, layout, added=added, dropped=dropped)


def note_on_format(table: Path) -> str:
    """What changes because a table's format cannot be written; "" if it can."""
    if table.suffix.lower() not in _CONVERTED:
        return ""
    return f"{table.name} comes back as XLSX: with all sheets and values, without formats and formulas."


def require_format(table: Path, out: Path) -> None:
    """Refuse an output that is a folder, or whose name says another format than the table's.

    Raises:
        SettingError: it is, or it does.
    """
    kind = format_of(table)
    if not out.name or out.is_dir():
        raise SettingError(f"{out} is a folder.", hint=f"Name a file: --out {out / f'filled{kind}'}")
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
