"""Decides what a fill writes into each cell, from predictions that come in the table's order."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.batch.fill.cells import IS_CORRECTED, IS_OWN, Cells, is_open, is_repaired
from facetry.batch.fill.config import CELL, REPAIR, SELLER, Added, ColumnSummary, FillConfig, Shown
from facetry.batch.outputs import BETWEEN
from facetry.catalogue.cells import BLANK
from facetry.predictions import DECIDED, to_long

FILLED, REPAIRED, REPLACED = "filled", "repaired", "replaced"
SAME, BELOW, UNPREDICTED, REFUSED = "same", "below", "unpredicted", "refused"
REVIEW, ABSTAIN = "review", "abstain"
WRITTEN: Final = (FILLED, REPAIRED, REPLACED)
"""The outcomes of cells that are written; the others are left as they are."""

_PREDICTED = pl.Schema(
    {"attribute": pl.String(), "value": pl.String(), "confidence": pl.Float32(), **DECIDED}
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What a fill is to do with the cells of a table."""

    cells: Cells
    config: FillConfig

    @cached_property
    def rows_to_predict(self) -> NDArray[np.bool_]:
        """Which rows of the table, by number, have a cell that takes a prediction."""
        taking = (part.filter(self._takes_prediction)["row"] for part in self.cells.parts())
        rows = np.concatenate(
            [np.empty(0, dtype=np.int64), *(each.unique().to_numpy() for each in taking)]
        )
        is_wanted = np.zeros(rows.max(initial=0) + 1, dtype=bool)
        is_wanted[rows] = True
        return is_wanted

    def outcomes(
        self, predicted: Iterator[pl.DataFrame], accepts: Callable[[str, str], bool]
    ) -> Iterator[pl.DataFrame]:
        """All cells in the table's order with `value`, `confidence`, `written` and `outcome`.

        `written` is the value as the shop spells it; `outcome` is null for a cell that is not to be
        filled. The rows of `predicted` are those of a run over the table, or over `rows_to_predict`;
        `accepts` says whether a column can hold a text.
        """
        known = _Predicted(predicted)
        for part in self.cells.parts():
            taking = part.filter(self._takes_prediction)
            ids = taking["id"]
            values = known.up_to(ids[-1], ids.dtype) if len(ids) else _no_values(part["id"].dtype)
            yield self._with_outcomes(part, values, accepts)

    @cached_property
    def _is_open(self) -> pl.Expr:
        found = is_open(self.cells.catalogue, replaces_known=self.config.replaces_known)
        if self.config.replaces_repaired:
            found |= is_repaired()
        return found

    @cached_property
    def _takes_prediction(self) -> pl.Expr:
        return self._is_open & pl.col("repair").is_null() & ~pl.col("is_removed")

    @property
    def _is_removed(self) -> pl.Expr:
        return pl.col("is_removed") & pl.lit(self.config.replaces_repaired)

    def _with_outcomes(
        self, part: pl.DataFrame, values: pl.DataFrame, accepts: Callable[[str, str], bool]
    ) -> pl.DataFrame:
        is_repair, is_removed = pl.col("repair").is_not_null(), self._is_removed
        cells = part.join(values, on=["id", "attribute"], how="left", maintain_order="left")
        cells = cells.with_columns(
            value=pl.coalesce("repair", "value"),
            confidence=pl.when(~is_repair).then("confidence"),
            action=pl.when(~is_repair).then("action"),
            is_open=self._is_open,
        )
        cells = cells.join(
            self.cells.spellings, on=["column", "value"], how="left", maintain_order="left"
        ).with_columns(written=pl.when(~is_removed).then(pl.coalesce("spelling", "value")))
        is_refused = pl.concat_str("column", "written", separator="\0").is_in(_refused(cells, accepts))
        outcome = (
            pl.when(is_removed)
            .then(pl.lit(REPLACED))
            .when(pl.col("value").is_null())
            .then(pl.lit(UNPREDICTED))
            .when(pl.col("value").eq_missing(pl.col("own")))
            .then(pl.lit(SAME))
            .when(pl.col("action") == "review")
            .then(pl.lit(REVIEW))
            .when(pl.col("action") == "abstain")
            .then(pl.lit(ABSTAIN))
            .when(pl.col("confidence") < self.config.min_confidence)
            .then(pl.lit(BELOW))
            .when(is_refused)
            .then(pl.lit(REFUSED))
            .when(pl.col("state") != BLANK)
            .then(pl.lit(REPLACED))
            .when(is_repair)
            .then(pl.lit(REPAIRED))
            .otherwise(pl.lit(FILLED))
        )
        return cells.with_columns(outcome=pl.when("is_open").then(outcome))


def _refused(cells: pl.DataFrame, accepts: Callable[[str, str], bool]) -> list[str]:
    """Column and text, joined, of what cannot be written."""
    pairs = cells.filter("is_open").select("column", "written").drop_nulls().unique()
    return [f"{column}\0{text}" for column, text in pairs.iter_rows() if not accepts(column, text)]


def _no_values(id_type: pl.DataType) -> pl.DataFrame:
    return pl.DataFrame(schema={"id": id_type, **_PREDICTED})


class _Predicted:
    """Hands out predictions up to a product; they come in the order in which products are asked for."""

    def __init__(self, rows: Iterator[pl.DataFrame]) -> None:
        self._rows = rows
        self._left: pl.DataFrame | None = None

    def up_to(self, last: object, id_type: pl.DataType) -> pl.DataFrame:
        """The predictions of all products up to the one with the id `last`, in long form."""
        taken = []
        while True:
            rows = next(self._rows, None) if self._left is None else self._left
            self._left = None
            if rows is None:
                break
            rows = rows.with_columns(pl.col("id").cast(id_type))
            found = (rows["id"] == last).arg_true()
            if len(found):
                taken.append(rows.head(found[0] + 1))
                self._left = rows.slice(found[0] + 1)
                break
            taken.append(rows)
        if not taken:
            return _no_values(id_type)
        return to_long(pl.concat(taken), has_decisions=True).select("id", *_PREDICTED)


def cells_to_write(
    outcomes: pl.DataFrame, added: Sequence[Added], new: Sequence[Added], source: str
) -> pl.DataFrame:
    """The cells to write, as a `TableWriter` takes them, by row.

    `added` are columns beside others. The `new` ones, and those that say what to do, get a text in each
    row, the others where a prediction was made for the cell beside them.
    """
    is_written = pl.col("outcome").is_in(WRITTEN)
    written = outcomes.filter(is_written)
    frames = [written.select("row", "id", "column", text="written", confidence="confidence")]
    is_decided = is_written | pl.col("outcome").is_in([REVIEW, ABSTAIN])
    for each in added:
        is_whole = each in new or each.shown in ("action", "alternatives")
        shown = outcomes if is_whole else outcomes.filter(is_decided)
        cells = shown.filter(pl.col("column") == each.beside).select(
            "row",
            "id",
            column=pl.lit(each.name),
            text=_shown(each.shown, source),
            confidence=pl.lit(None),
        )
        frames.append(cells)
    cells = pl.concat(frames, how="vertical_relaxed").sort("row", maintain_order=True)
    return cells.with_columns(raw=pl.lit(None, pl.String)).select(CELL)


def _shown(shown: Shown, source: str) -> pl.Expr:
    """The text in a column beside another."""
    if shown == "source":
        return shown_source(source)
    is_filled = pl.col("outcome").is_in([FILLED, REPLACED]).fill_null(value=False) | IS_OWN
    if shown == "action":
        asked = pl.concat_str("outcome", "reason", separator=": ", ignore_nulls=True)
        is_asked = pl.col("outcome").is_in([REVIEW, ABSTAIN])
        return pl.when(is_asked).then(asked).when(is_filled).then(pl.lit("fill"))
    if shown == "alternatives":
        texts = pl.col("alternatives").list.join(BETWEEN)
        return pl.when(pl.col("outcome") == REVIEW).then(texts)
    is_open = pl.col("outcome").is_in([REVIEW, ABSTAIN])
    number = pl.when(is_open).then("confidence").otherwise(shown_confidence())
    return number.cast(pl.Float64).round(3).cast(pl.String)


def shown_confidence() -> pl.Expr:
    """What the column for confidence shows: for what was predicted, now or earlier."""
    is_written = pl.col("outcome").is_in(WRITTEN).fill_null(value=False)
    return (
        pl.when(is_written)
        .then(pl.col("confidence"))
        .when(IS_OWN)
        .then(pl.col("shown_confidence"))
        .otherwise(None)
    )


def shown_source(source: str) -> pl.Expr:
    """What the column for sources shows: who gave the value; null for a blank."""
    is_written = pl.col("outcome").is_in(WRITTEN).fill_null(value=False)
    return (
        pl.when(is_written)
        .then(pl.when(pl.col("repair").is_not_null()).then(pl.lit(REPAIR)).otherwise(pl.lit(source)))
        .when(IS_OWN)
        .then(pl.col("shown_source"))
        .when(pl.col("state") != BLANK)
        .then(pl.lit(SELLER))
    )


class Tally:
    """Counts outcomes by column, cells that a person has corrected, and those of earlier fills."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._counts = dict.fromkeys(((c, o) for c in columns for o in (*WRITTEN, BELOW)), 0)
        self._sums = dict.fromkeys(columns, 0.0)
        self.num_corrected = 0
        self.num_earlier = 0

    def add(self, outcomes: pl.DataFrame) -> None:
        """Count the cells of one part of the table."""
        self.num_corrected += outcomes.filter(IS_CORRECTED).height
        self.num_earlier += outcomes.filter(IS_OWN & pl.col("outcome").is_null()).height
        is_blank = (pl.col("outcome") != UNPREDICTED) | (pl.col("state") == BLANK)
        counted = outcomes.filter(pl.col("outcome").is_not_null() & is_blank)
        found = counted.group_by("column", "outcome").agg(pl.len(), pl.col("confidence").sum())
        for column, outcome, count, total in found.iter_rows():
            self._counts[column, outcome] = self._counts.get((column, outcome), 0) + count
            self._sums[column] += total if outcome in (FILLED, REPLACED) else 0.0

    def num(self, column: str, outcome: str) -> int:
        """How many cells of a column had an outcome."""
        return self._counts.get((column, outcome), 0)

    def summaries(self) -> list[ColumnSummary]:
        """What was done, column by column."""
        return [self._summary(column) for column in self._columns]

    def _summary(self, column: str) -> ColumnSummary:
        num_predicted = self.num(column, FILLED) + self.num(column, REPLACED)
        return ColumnSummary(
            column=column,
            num_filled=self.num(column, FILLED),
            num_repaired=self.num(column, REPAIRED),
            num_replaced=self.num(column, REPLACED),
            num_below=self.num(column, BELOW),
            num_review=self.num(column, REVIEW),
            num_abstain=self.num(column, ABSTAIN),
            num_unpredicted=self.num(column, UNPREDICTED),
            num_refused=self.num(column, REFUSED),
            mean_confidence=self._sums[column] / num_predicted if num_predicted else None,
        )
