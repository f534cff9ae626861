"""Checks a Parquet file that anybody may have made: a few bytes of one can stand for billions of cells.

Texts that occur often are stored once and referred to by number. They are counted here as often as they
occur, without being copied so often.
"""

from typing import Any, BinaryIO, Final

from facetry.service.config import Limits
from facetry.service.problems import Problem

_BATCH_ROWS: Final = 65_536
_NESTED_BATCH_ROWS: Final = 256  # of lists, which are copied
_WIDEST: Final = 64  # bytes of a cell of fixed width


def check_parquet(file: BinaryIO, limits: Limits) -> None:
    """Refuse a Parquet file that unfolds to more bytes than a job's photos may.

    Raises:
        Problem: it does, or cannot be read.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    num_bytes = 0
    try:
        for batch in _batches(ParquetFile, file):
            num_bytes += sum(_unfolded(column) for column in batch.columns)
            if num_bytes > limits.max_unpacked_bytes:
                raise _too_large(limits)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Problem("invalid", "The table is no Parquet file that can be read.") from error


def _batches(open_file: Any, file: BinaryIO) -> Any:
    """The rows in batches, with texts as numbers wherever they are so in the file."""
    schema = open_file(file).schema
    columns = [schema.column(index) for index in range(len(schema))]
    if any(each.physical_type == "FIXED_LEN_BYTE_ARRAY" and each.length > _WIDEST for each in columns):
        raise Problem("invalid", "The table has a column of a kind that is not read.")
    texts = [each.path for each in columns if each.physical_type == "BYTE_ARRAY"]
    is_nested = any(each.max_repetition_level for each in columns)
    opened = open_file(file, read_dictionary=[] if is_nested else texts)
    return opened.iter_batches(batch_size=_NESTED_BATCH_ROWS if is_nested else _BATCH_ROWS)


def _unfolded(column: Any) -> int:
    """How many bytes a column takes if each text is written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary)
    total = pc.sum(pc.cast(lengths, "int64").take(column.indices)).as_py()
    return int(total or 0) + int(column.indices.nbytes)


def _too_large(limits: Limits) -> Problem:
    return Problem(
        "too_large",
        f"The table unfolds to more than {limits.max_unpacked_bytes:,} bytes.",
        "Send it in several jobs.",
    )
