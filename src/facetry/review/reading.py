"""Reads the cells of a shop's table as a review knows them: a row for each product and attribute."""

import polars as pl

from facetry.batch.fill.cells import Cells, columns_to_fill
from facetry.batch.fill.record import Record
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.cells import NOT_APPLICABLE as IS_NONE
from facetry.confidence.fill_audit import NOT_APPLICABLE
from facetry.errors import InputChanged

_READ = pl.Schema(
    {
        "number": pl.Int64(),
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "known": pl.String(),
        "said": pl.String(),
    }
)


def read_cells(catalogue: Catalogue) -> pl.DataFrame:
    """The cells of a catalogue's table whose attributes its taxonomy has, after its repairs.

    `number` is the row in the file, `known` the label, and `said` that or the answer that the product
    has no such attribute.
    """
    cells = Cells(catalogue=catalogue, columns=columns_to_fill(catalogue, ()), record=Record())
    known = (
        pl.when(pl.col("repair").is_not_null()).then("repair").when(~pl.col("is_removed")).then("own")
    )
    is_none = pl.col("known").is_null() & (pl.col("state") == IS_NONE)
    parts = [_READ.to_frame()]
    for part in cells.parts() if cells.columns else ():
        found = part.filter(pl.col("attribute").is_not_null()).with_columns(
            pl.col("id").cast(pl.String), number="row", known=known
        )
        said = pl.coalesce("known", pl.when(is_none).then(pl.lit(NOT_APPLICABLE)))
        parts.append(found.with_columns(said=said).select(_READ.names()).cast(_READ))
    return pl.concat(parts)


def require_unchanged(read: pl.DataFrame, contents: pl.DataFrame) -> None:
    """Refuse a table that is not the one that the review knows.

    Raises:
        InputChanged: products came or went, or known values are others.
    """
    key = ["id", "attribute"]
    together = contents.join(read.select(*key, table="known"), on=key, how="left")
    num_changed = together.filter(pl.col("known").ne_missing(pl.col("table"))).height
    products = [frame.select("id").unique() for frame in (read, contents)]
    num_new, num_gone = (
        one.join(other, on="id", how="anti").height for one, other in (products, products[::-1])
    )
    counts = {"values": num_changed, "new products": num_new, "missing products": num_gone}
    if any(counts.values()):
        shown = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        raise InputChanged(
            f"The shop's table has changed since the review read it: {shown}.",
            hint="Nothing was written. Start the review again (facetry review MODEL CATALOGUE): it "
            "reads the table anew and keeps what people decided.",
        )
