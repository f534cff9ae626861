"""Compares a file that came back with what it held when it was handed out, and with how cells stand now.

What nobody changed in the file is left alone, whatever it says. What was changed in the file and not
here is a change; what was changed in both, differently, is a conflict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
from pydantic import BaseModel, ConfigDict

from facetry.confidence.fill_audit import NO_VALUE, NOT_APPLICABLE
from facetry.review.returned import Returned, matched
from facetry.taxonomy import Taxonomy

CHANGE, CONFLICT, UNLISTED, EMPTIED = "change", "conflict", "unlisted", "emptied"

_NUM_NAMED: Final = 20  # of the rows that something is odd about

_COLUMNS: Final = (
    "row", "head", "id", "attribute", "number", "was", "theirs", "now", "value", "decided_by",
    "decided_at", "is_disputed", "proposed", "is_contested", "kind",
)  # fmt: skip


class Odd(BaseModel):
    """Rows of a file, or of the review, that were left alone for one reason."""

    model_config = ConfigDict(frozen=True)

    num: int
    named: tuple[str, ...]

    @classmethod
    def of(cls, names: pl.Series) -> "Odd":
        """Those with these names."""
        return cls(num=len(names), named=tuple(map(str, names.head(_NUM_NAMED))))


class Notes(BaseModel):
    """What is to be told of a file besides its cells: nothing is left out silently."""

    model_config = ConfigDict(frozen=True)

    num_rows: int
    num_unchanged: int
    num_same: int
    unknown: Odd
    missing: Odd
    repeated: Odd
    without_id: Odd
    other_category: Odd
    missing_columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """What a file says otherwise.

    `cells` has a row for each cell of a `kind`: CHANGE, CONFLICT, UNLISTED (no value of the attribute)
    or EMPTIED; with what it `was`, what is `theirs` and what is there `now`. One that `is_contested` was
    changed here, too.
    """

    cells: pl.DataFrame
    notes: Notes

    @property
    def num_differing(self) -> int:
        """How many cells of the file are not as they were."""
        return self.cells.height + self.notes.num_same


@dataclass(frozen=True, kw_only=True, eq=False)
class Now:
    """A review as it stands: its `contents`, its `products` (id and category), and the values."""

    contents: pl.DataFrame
    products: pl.DataFrame
    taxonomy: Taxonomy


def compare(returned: Returned, base: pl.DataFrame | None, now: Now) -> Compared:
    """Compare a file with its base: `row`, `head`, what the `file` said and how the cell had `stands`.

    Without a base, it is what the table had when the review read it, or what repairs say was there.
    """
    rows = matched(returned.rows, now.products["id"])
    usable = _usable(rows, now.products, is_table=returned.form == "table")
    cells = returned.cells.join(usable.select("number", id="own"), on="number", how="inner")
    cells = cells.unique(["id", "attribute"], keep="last", maintain_order=True)
    together = now.contents.join(cells, on=["id", "attribute"], how="inner", maintain_order="left")
    based = _with_base(together, base, returned)
    kinds = based.with_columns(is_contested=_IS_CONTESTED).with_columns(kind=_kind(based, now.taxonomy))
    found = kinds.filter(pl.col("kind").is_in([CHANGE, CONFLICT, UNLISTED, EMPTIED]))
    return Compared(
        cells=found.select(pl.col("stands").alias("now"), pl.exclude("now")).select(_COLUMNS),
        notes=_notes(returned, rows, now, kinds["kind"].value_counts().rows()),
    )


def _usable(rows: pl.DataFrame, products: pl.DataFrame, *, is_table: bool) -> pl.DataFrame:
    """The rows of products that the review has, in the same category; of a table, once each."""
    known = products.select(own="id", here="category")
    own = rows.filter(pl.col("own").is_not_null())
    joined = own.filter(pl.col("own").is_unique() | pl.lit(not is_table)).join(known, on="own")
    return joined.filter(pl.col("category").eq_missing(pl.col("here")))


def _with_base(cells: pl.DataFrame, base: pl.DataFrame | None, returned: Returned) -> pl.DataFrame:
    """The cells with what they were in the file (`was`), and how they stood then (`stood`)."""
    own = "old" if returned.form == "repairs" else "known"
    if base is None:
        blank = pl.col("theirs") == NOT_APPLICABLE  # as the table may have said all along
        return cells.with_columns(
            was=own, stood=own, theirs=pl.when(~blank | pl.col(own).is_not_null()).then("theirs")
        )
    held = base.select("row", "head", "file", stood="stands", is_held=pl.lit(value=True))
    joined = cells.join(held, on=["row", "head"], how="left", maintain_order="left")
    is_held = pl.col("is_held").is_not_null()
    return joined.with_columns(
        was=pl.when(is_held).then("file").otherwise(own),
        stood=pl.when(is_held).then("stood").otherwise(own),
    )


_IS_PENDING: Final = pl.col("is_disputed") | pl.col("proposed").is_not_null()

_IS_CONTESTED: Final = _IS_PENDING | (
    (pl.col("source") != "model") & pl.col("stands").ne_missing(pl.col("stood"))
)
"""Whether people have said something of a cell since the file was handed out."""


def _kind(cells: pl.DataFrame, taxonomy: Taxonomy) -> pl.Expr:
    """What becomes of each cell."""
    theirs, stands = pl.col("theirs"), pl.col("stands")
    now = pl.when(~stands.is_in(list(NO_VALUE)) | (stands == theirs)).then(stands)
    listed = {index: list(head.values) for index, head in enumerate(taxonomy.heads)}
    pairs = cells.select("head", "theirs").unique().drop_nulls().rows()
    allowed = [f"{head}\0{value}" for head, value in pairs if value in listed[head]]
    key = pl.concat_str("head", "theirs", separator="\0")
    is_listed = (theirs == NOT_APPLICABLE) | key.is_in(allowed)
    is_proposed = (theirs == pl.col("proposed")).fill_null(value=False)
    return (
        pl.when(theirs.eq_missing(pl.col("was")))
        .then(pl.lit("unchanged"))
        .when((theirs.eq_missing(now) & ~_IS_PENDING) | is_proposed)
        .then(pl.lit("same"))
        .when(theirs.is_null())
        .then(pl.lit(EMPTIED))
        .when(~is_listed)
        .then(pl.lit(UNLISTED))
        .when("is_contested")
        .then(pl.lit(CONFLICT))
        .otherwise(pl.lit(CHANGE))
    )


def _notes(returned: Returned, rows: pl.DataFrame, now: Now, counts: Sequence[tuple[str, int]]) -> Notes:
    num = dict(counts)
    known = rows.filter(pl.col("own").is_not_null())
    is_table = returned.form == "table"
    repeated = known.filter(pl.col("own").is_duplicated() & pl.lit(is_table))
    here = now.products.select(own="id", here="category")
    other = known.join(here, on="own").filter(pl.col("category").ne_missing(pl.col("here")))
    has_cells = now.contents["id"].unique(maintain_order=True)
    gone = has_cells.filter(~has_cells.is_in(known["own"].implode())) if is_table else has_cells.head(0)
    with_id = rows.filter(pl.col("id").is_not_null(), pl.col("own").is_null())
    without = rows.filter(pl.col("id").is_null())["number"]
    return Notes(
        num_rows=rows.height,
        num_unchanged=num.get("unchanged", 0),
        num_same=num.get("same", 0),
        unknown=Odd.of(with_id["id"]),
        missing=Odd.of(gone),
        repeated=Odd.of(repeated["own"].unique(maintain_order=True)),
        without_id=Odd.of(without),
        other_category=Odd.of(other["own"]),
        missing_columns=returned.missing_columns,
    )


def closest(returned: Returned, bases: Mapping[str, Path], now: Now) -> tuple[str, Compared]:
    """The base, by its name, that a file differs least from, "" for none; with the comparison.

    A file that was changed is closest to the one that it was made from: compared with a later one, all
    that was decided in between would look as if it had been changed back. Repairs of which most are not
    as they were handed out come from elsewhere.
    """
    best = "", compare(returned, None, now)
    most = best[1].num_differing if returned.form == "table" else returned.cells.height // 2
    for name, path in bases.items():
        found = compare(returned, pl.read_parquet(path), now)
        if found.num_differing <= most and (not best[0] or found.num_differing < most):
            best, most = (name, found), found.num_differing
    return best
