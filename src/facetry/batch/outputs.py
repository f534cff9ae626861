"""The result tables of a run: predictions in long form, the challenge's submission, the problems."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import polars as pl
import polars.selectors as cs

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.places import photo_paths, without_formulas
from facetry.predictions import FILL, OK, to_long, to_problems, to_submission
from facetry.runtime.files import writing
from facetry.taxonomy import Taxonomy

Format = Literal["parquet", "csv"]

SUBMISSION = "submission.csv"

BETWEEN = " | "
"""What stands between alternatives in a text."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """How result tables are written.

    `fill` stands in the submission for attributes that a category does not have. If it `is_safe`, texts
    in CSV files that a spreadsheet program would take for formulas are kept from being run. With
    `has_decisions` the predictions say what to do with each.
    """

    table_format: Format = "parquet"
    fill: str = FILL
    has_submission: bool = True
    is_safe: bool = False
    has_decisions: bool = False


_CHUNK_ROWS = 2500  # converting a whole part at once would take twice the memory that scoring it does


def write_outputs(
    folder: Path,
    parts: Iterable[pl.DataFrame],
    taxonomy: Taxonomy,
    catalogue: Catalogue,
    config: OutputConfig,
) -> None:
    """Write all parts as tables; each file is replaced in one step when it is complete.

    `predictions.parquet` (or `.csv`): id, category, attribute, value, confidence; with decisions also
    action, alternatives (in CSV joined by `BETWEEN`) and reason. `problems.csv`: products that could not
    be predicted, with their row in the table, the paths of their photos and the reason.
    `submission.csv`: the challenge's form.
    """
    table_format, safe = config.table_format, without_formulas if config.is_safe else _unchanged
    places = _Places(catalogue)
    with ExitStack() as stack:
        long = _open(stack, folder / f"predictions.{table_format}")
        submission = _open(stack, folder / SUBMISSION) if config.has_submission else None
        problems = _open(stack, folder / "problems.csv")
        for rows in (piece for part in parts for piece in part.iter_slices(_CHUNK_ROWS)):
            predictions = to_long(rows, has_decisions=config.has_decisions)
            long(safe(_as_texts(predictions)) if table_format == "csv" else predictions)
            if submission:
                submission(to_submission(rows, taxonomy, fill=config.fill))
            problems(safe(places.of_problems(rows)))
    other = "csv" if table_format == "parquet" else "parquet"
    outdated = [f"predictions.{other}", *([] if config.has_submission else [SUBMISSION])]
    for name in outdated:  # written by a run with other settings
        (folder / name).unlink(missing_ok=True)


def _as_texts(predictions: pl.DataFrame) -> pl.DataFrame:
    """The same predictions with lists of alternatives as texts."""
    return predictions.with_columns(cs.by_dtype(pl.List(pl.String)).list.join(BETWEEN))


def _unchanged(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


class _Places:
    """Finds the rows of a table and the photos of products that come in the table's order."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        columns = catalogue.scan.select("row", "id", "photo")
        self._parts = catalogue.stream_rows(columns, _CHUNK_ROWS)
        self._left = pl.DataFrame()

    def of_problems(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The problems of the next rows: row, id, category, photo, problem."""
        taken = [self._left]
        while sum(each.height for each in taken) < rows.height:
            taken.append(next(self._parts))
        table = pl.concat([each for each in taken if each.height]) if rows.height else self._left
        self._left = table.slice(rows.height)
        status = rows["status"]
        places = table.head(rows.height).filter(status != OK)
        cells = places.select("id", "photo").iter_rows()
        photos = [photo_paths(self._catalogue, *each) for each in cells]
        return to_problems(rows).select(
            places["row"],
            "id",
            "category",
            pl.Series("photo", photos, dtype=pl.String),
            "problem",
        )


def _open(stack: ExitStack, path: Path) -> Callable[[pl.DataFrame], None]:
    """A function that appends a frame to the file."""
    draft = stack.enter_context(writing(path))
    writer = ParquetAppender(draft) if path.suffix == ".parquet" else _CsvWriter(draft)
    stack.callback(writer.close)
    return writer


class _CsvWriter:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._has_header = False

    def __call__(self, frame: pl.DataFrame) -> None:
        self._file.write(frame.write_csv(include_header=not self._has_header))
        self._has_header = True

    def close(self) -> None:
        self._file.close()


@final
class ParquetAppender:
    """Writes each frame to a Parquet file as a row group, cast to the column types of the first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None  # pyarrow has no types

    def __call__(self, frame: pl.DataFrame) -> None:
        """Write a frame."""
        import pyarrow.parquet

        table = frame.to_arrow()
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
