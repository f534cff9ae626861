"""What becomes of decisions: repairs, and the shop's own file with them filled in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from facetry.batch.fill.config import FillConfig
from facetry.batch.fill.record import fill_folder
from facetry.batch.fill.run import FilledCopy
from facetry.catalogue.catalogue import Catalogue, assemble, open_catalogue
from facetry.catalogue.repairs import RANDOM, Repair
from facetry.catalogue.scan import collect
from facetry.confidence.fill_audit import FILL, NO_VALUE
from facetry.predictions import PREDICTIONS
from facetry.review.answers import BLIND
from facetry.review.reading import read_cells, require_unchanged
from facetry.review.store.records import Decision, Review
from facetry.runtime.files import remove
from facetry.taxonomy import Taxonomy

REPAIRS: Final = "repairs.csv"

_CHUNK_ROWS: Final = 32_768


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """The shop's own file as it was written.

    `cells` has a row for each of the review's cells: `row`, `head`, what the `file` says and how the
    cell `stands`. `num_unwritten` cells could not be written as they stand: they hold formulas, or texts
    that the file's encoding does not have.
    """

    path: Path
    cells: pl.DataFrame
    num_unwritten: int


def repairs_of(decisions: Iterable[Decision], taxonomy: Taxonomy) -> Iterator[Repair]:
    """What people decided, as repairs of the catalogue.

    An answer that is no value takes away what the table had. What was drawn at random says so.
    """
    for decision in decisions:
        is_none = decision.decided in NO_VALUE
        if is_none and decision.known is None:
            continue
        yield Repair(
            id=decision.product_id,
            category=decision.category,
            attribute=taxonomy.heads[decision.head].attribute,
            old=decision.known or "",
            new="" if is_none else decision.decided,
            who=decision.person,
            when=iso_time(decision.at),
            chosen=RANDOM if decision.stream in BLIND else decision.stream,
        )


def open_shop(review: Review, taxonomy: Taxonomy) -> Catalogue:
    """The shop's catalogue, of which a taxonomy says what values there are.

    Raises:
        CatalogueError: it cannot be read.
    """
    return open_catalogue(Path(review.catalogue), images=review.images, taxonomy=taxonomy)


def write_outcome(
    review: Review, catalogue: Catalogue, contents: pl.DataFrame, repairs: Path
) -> Outcome:
    """Write the shop's own file as its cells stand, beside the file of `repairs`.

    `contents` are those of the review. Cells that stand as they were are not touched.

    Raises:
        InputChanged: the table has changed since the review read it.
        WriteFailed: the disk is full.
    """
    require_unchanged(read_cells(catalogue), contents)
    repaired = catalogue.with_repairs(repairs)
    config = FillConfig(model="", source=f"model {review.model}", replaces_repaired=True)
    copy = FilledCopy.of(repaired, repairs.parent, config)
    assert copy is not None, "a review has columns to fill"
    copy.write(_filled_by_model(repaired, contents))
    remove(fill_folder(copy.path))
    cells = with_file(contents, read_cells(with_table(catalogue, copy.path)))
    return Outcome(path=copy.path, cells=cells, num_unwritten=cells.filter(_IS_UNWRITTEN).height)


def with_table(catalogue: Catalogue, table: Path) -> Catalogue:
    """The same catalogue with another file as its table, which holds its repairs already."""
    source = catalogue.source.model_copy(update={"table": table, "repairs": ()})
    return assemble(source, catalogue.given, is_closed=catalogue.is_closed)


def with_file(contents: pl.DataFrame, read: pl.DataFrame) -> pl.DataFrame:
    """The cells of a review with what a `file` says of them."""
    said = read.select("id", "attribute", file="said")
    together = contents.join(said, on=["id", "attribute"], how="left", maintain_order="left")
    return together.select("row", "head", "file", "stands")


def ids_in_order(catalogue: Catalogue) -> pl.DataFrame:
    """The products of a table in its order: id and category."""
    return collect(catalogue.scan.select("id", "category"), catalogue.source.table)


def _no_answer(name: str) -> pl.Expr:
    return pl.when(~pl.col(name).is_in(list(NO_VALUE))).then(name)


_IS_UNWRITTEN: Final = _no_answer("file").ne_missing(_no_answer("stands"))


def _filled_by_model(catalogue: Catalogue, contents: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """What the model filled in, as the rows of a run over the table."""
    fields = PREDICTIONS.inner
    assert isinstance(fields, pl.Struct)
    given = {
        "attribute": pl.col("attribute"),
        "value": pl.col("value"),
        "confidence": pl.col("confidence"),
        "action": pl.lit(FILL),
    }
    struct = pl.struct(
        given.get(field.name, pl.lit(None)).cast(field.dtype).alias(field.name)
        for field in fields.fields
    )
    filled = contents.filter(pl.col("source") == "model").group_by("id").agg(predictions=struct)
    rows = ids_in_order(catalogue).with_columns(text=pl.col("id").cast(pl.String))
    joined = rows.join(filled, left_on="text", right_on="id", how="left", maintain_order="left")
    nothing = pl.lit([], PREDICTIONS)
    frame = joined.select("id", "category", pl.col("predictions").fill_null(nothing))
    return frame.iter_slices(_CHUNK_ROWS)


def iso_time(seconds: float) -> str:
    """A time as files have it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
