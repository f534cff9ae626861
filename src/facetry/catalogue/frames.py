"""DataFrames of callers, of polars, pandas, pyarrow or what else narwhals knows.

One that comes in is written to a Parquet file, which is then a table like any other: what identifies a
catalogue, resumes a training and streams a table needs no second way. One that goes out is of the kind
that came in.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from facetry.errors import CatalogueError, first_line
from facetry.runtime.files import temporary_folder


def is_frame(given: object) -> bool:
    """Whether an object is a DataFrame that can be opened as a table.

    >>> is_frame(pl.DataFrame({"id": [1]})), is_frame("products.csv")
    (True, False)

    Raises:
        CatalogueError: two of its columns have one name.
    """
    try:
        return isinstance(nw.from_native(given, pass_through=True), nw.DataFrame | nw.LazyFrame)
    except nw.exceptions.DuplicateError as error:
        raise CatalogueError(
            f"The {type(given).__name__} has two columns of one name: {' '.join(str(error).split())}",
            hint="Rename or drop one of them.",
        ) from error


def write_frame(frame: Any) -> Path:
    """Write a DataFrame to a temporary Parquet file, named by its content and removed at exit.

    Raises:
        CatalogueError: a column whose cells a table cannot hold, such as texts and numbers mixed.
    """
    buffer = io.BytesIO()
    try:
        _as_polars(frame).write_parquet(buffer)
    except Exception as error:  # each library has its own exceptions
        raise CatalogueError(
            f"The {type(frame).__name__} cannot be read as a table: {first_line(error)}",
            hint="Every column needs one type: texts, numbers, or lists of texts for photos.",
        ) from error
    content = buffer.getvalue()
    path = temporary_folder() / f"frame-{hashlib.sha256(content).hexdigest()[:16]}.parquet"
    if not path.exists():
        path.write_bytes(content)
    return path


def like(given: object, made: pl.DataFrame) -> Any:
    """The DataFrame `made` as one of the kind that was `given`; as it is for what is none.

    >>> like("products.csv", pl.DataFrame({"id": [1]})).shape
    (1, 1)
    """
    if not is_frame(given) or isinstance(given, pl.DataFrame):
        return made
    if isinstance(given, pl.LazyFrame):
        return made.lazy()
    kind = nw.get_native_namespace(nw.from_native(given))
    return nw.from_arrow(made, backend=kind).to_native()


def _as_polars(frame: Any) -> pl.DataFrame:
    """The content as polars has it; categories become texts."""
    found = nw.from_native(frame)
    whole = found.collect("polars") if isinstance(found, nw.LazyFrame) else found
    made: pl.DataFrame = whole.to_polars()
    is_category = [name for name, kind in made.schema.items() if kind in {pl.Categorical, pl.Enum}]
    return made.with_columns(pl.col(is_category).cast(pl.String))
