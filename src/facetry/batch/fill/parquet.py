"""Edits Parquet files: some columns' cells are replaced, one part of the file at a time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import polars as pl

from facetry.batch.fill.config import CELL, Added, Cell
from facetry.batch.fill.lines import other_product, require_same_id
from facetry.catalogue.scan import unreadable

_NUM_ROWS = 65_536  # in memory at one time


@final
class ParquetWriter:
    """A `TableWriter` for Parquet: same columns, order, types and metadata, by pyarrow.

    A column of `labels` that holds nothing at all, and so has no type, becomes one of texts.
    """

    def __init__(
        self,
        table: Path,
        draft: Path,
        *,
        id_column: str,
        labels: Sequence[str],
        added: Sequence[Added] = (),
        dropped: Sequence[str] = (),
    ) -> None:
        import pyarrow.parquet

        self._id_column = id_column
        self._table = table
        with _explaining(table):
            self._file = pyarrow.parquet.ParquetFile(table)
        self._schema = _schema(self._file.schema_arrow, labels, added, dropped)
        self._added = {each.name: each for each in added}
        self._out = pyarrow.parquet.ParquetWriter(
            draft, self._schema, compression=_compression(self._file.metadata)
        )
        self._batches: Iterator[Any] = self._file.iter_batches(batch_size=_NUM_ROWS)
        self._part = _Part(None, 0)

    def accepts(self, column: str, text: str) -> bool:
        """Whether a column can hold a text."""
        import pyarrow as pa

        try:
            pa.array([_value(text, self._type(column))], type=self._type(column))
        except (pa.ArrowException, ValueError, TypeError):
            return False
        return True

    def write(self, cells: pl.DataFrame) -> list[str]:
        """Write cells, and return what was there before."""
        raws = []
        for cell in map(Cell._make, cells.select(CELL).iter_rows()):
            while cell.row > self._part.last:
                if not self._read_next():
                    raise other_product(cell, None)
            at = cell.row - self._part.first - 1
            require_same_id(cell, str(_plain(self._part.cells(self._id_column)[at])))
            column = self._part.cells(cell.column)
            before, kind = column[at], self._type(cell.column)
            column[at] = _value(cell.text, kind) if cell.raw is None else _restored(cell.raw, kind)
            self._part.changed.add(cell.column)
            raws.append(json.dumps(_plain(before), default=str))
        return raws

    def finish(self) -> None:
        """Write the rest of the table and close the files."""
        while self._read_next():
            pass
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._out.close()
        self._file.close()

    def _type(self, column: str) -> Any:
        return self._schema.field(column).type

    def _read_next(self) -> bool:
        """Write the part that is held and read the next one; False if there is none."""
        self._flush()
        with _explaining(self._table):
            batch = next(self._batches, None)
        if batch is None:
            return False
        self._part = _Part(batch, self._part.last)
        return True

    def _flush(self) -> None:
        import pyarrow as pa

        if (batch := self._part.batch) is None:
            return
        arrays = []
        for each in self._schema:
            is_same = each.name in batch.schema.names and batch.schema.field(each.name).type == each.type
            if each.name in self._part.changed and pa.types.is_dictionary(each.type):
                arrays.append(_encoded(self._part.cells(each.name), batch.column(each.name)))
            elif each.name in self._part.changed or not is_same:
                arrays.append(pa.array(self._part.cells(each.name), type=each.type))
            else:
                arrays.append(batch.column(each.name))
        self._out.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._part = _Part(None, self._part.last)


class _Part:
    """Rows of the file, up to the `last`, and which of its columns were changed."""

    def __init__(self, batch: Any, num_before: int) -> None:
        self.batch = batch
        self.first = num_before
        self.last = num_before + (batch.num_rows if batch is not None else 0)
        self.changed: set[str] = set()
        self._lists: dict[str, list[Any]] = {}

    def cells(self, column: str) -> list[Any]:
        """A column's cells, to change."""
        if column not in self._lists:
            has_it = column in self.batch.schema.names
            self._lists[column] = (
                self.batch.column(column).to_pylist() if has_it else [None] * self.batch.num_rows
            )
        return self._lists[column]


@contextmanager
def _explaining(table: Path) -> Iterator[None]:
    """Turn pyarrow's errors of reading into one that names the file: polars passes over some damage.

    Raises:
        CatalogueError: the file cannot be read.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise unreadable(table, error) from error


def _encoded(values: Sequence[Any], before: Any) -> Any:
    """Values as an array of categories: those that there were, in their order, and then the new ones."""
    import pyarrow as pa

    kind = before.type
    categories = dict.fromkeys([*before.dictionary.to_pylist(), *(v for v in values if v is not None)])
    codes = {category: code for code, category in enumerate(categories)}
    return pa.DictionaryArray.from_arrays(
        pa.array([None if each is None else codes[each] for each in values], type=kind.index_type),
        pa.array(list(categories), type=kind.value_type),
        ordered=kind.ordered,
    )


def _schema(schema: Any, labels: Sequence[str], added: Sequence[Added], dropped: Sequence[str]) -> Any:
    """The columns of the copy."""
    import pyarrow as pa

    kinds: Mapping[str, Any] = {"confidence": pa.float64(), "source": pa.string()}
    fields = []
    for each in schema:
        if each.name in dropped:
            continue
        is_untyped = each.name in labels and pa.types.is_null(each.type)
        fields.append(each.with_type(pa.string()) if is_untyped else each)
        fields += [pa.field(new.name, kinds[new.shown]) for new in added if new.beside == each.name]
    return pa.schema(fields, metadata=schema.metadata)


def _compression(metadata: Any) -> str:
    """The compression of a file's first column."""
    if not metadata.num_row_groups or not metadata.num_columns:
        return "zstd"
    found = str(metadata.row_group(0).column(0).compression).lower()
    return "none" if found == "uncompressed" else found


def _value(text: str | None, kind: Any) -> Any:
    """A text as a value of a column's type."""
    import pyarrow as pa

    if text is None or text == "":
        return None
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if inner in {pa.string(), pa.large_string(), pa.string_view()}:
        return text
    return pa.scalar(text).cast(inner).as_py()


def _restored(raw: str, kind: Any) -> Any:
    """The value that `raw` tells of: numbers and truth values as they are, all others as texts."""
    value = json.loads(raw)
    return _value(value, kind) if value and isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """Bytes as the text that polars reads in them; any other value as it is."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
