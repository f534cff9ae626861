"""What a prediction run writes: predictions in long form, the challenge's submission, the problems."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from facetry.files import writing
from facetry.predictions import FILL, Predictions
from facetry.taxonomy import Taxonomy

if TYPE_CHECKING:
    import polars as pl

ROW_GROUP = 8192
"""Products written at a time."""

Format = Literal["parquet", "csv"]


class Outputs:
    """Takes predictions part by part and writes three tables, each whole at the end or not at all.

    `predictions.parquet` (or `.csv`): id, category, attribute, value, confidence. `submission.csv`:
    the challenge's form. `problems.csv`: products that could not be predicted, with the reason.
    """

    def __init__(
        self,
        folder: Path,
        taxonomy: Taxonomy,
        *,
        table_format: Format = "parquet",
        fill: str = FILL,
    ) -> None:
        self.folder = folder
        self.fill = fill
        self.table_format = table_format
        self.num_slots = taxonomy.num_slots
        self._stack = ExitStack()
        self._pending: list[Predictions] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._predictions = self._open(stack, f"predictions.{self.table_format}")
            self._submission = self._open(stack, "submission.csv")
            self._problems = self._open(stack, "problems.csv")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            self._flush()

    def write(self, predictions: Predictions) -> None:
        """Append one part; parts are gathered until there are enough for a row group."""
        self._pending.append(predictions)
        if sum(map(len, self._pending)) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        predictions = Predictions.concatenate(self._pending)
        self._pending.clear()
        self._predictions(predictions.to_long())
        self._submission(predictions.to_wide(fill=self.fill, num_slots=self.num_slots))
        self._problems(predictions.to_problems())

    def _open(self, stack: ExitStack, name: str) -> "Callable[[pl.DataFrame], None]":
        draft = stack.enter_context(writing(self.folder / name))
        writer = _ParquetWriter(draft) if name.endswith(".parquet") else _CsvWriter(draft)
        stack.callback(writer.close)
        return writer


class _CsvWriter:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._has_header = False

    def __call__(self, frame: "pl.DataFrame") -> None:
        frame.write_csv(self._file, include_header=not self._has_header)
        self._has_header = True

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    """One row group for each part; the first part's column types hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None  # pyarrow has no types

    def __call__(self, frame: "pl.DataFrame") -> None:
        import pyarrow.parquet

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
