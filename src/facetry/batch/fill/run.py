"""Fills a table: predicts products that have blanks, and writes the same file with them filled in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import polars as pl

from facetry.batch.fill.cells import IS_OWN, Cells, columns_to_fill
from facetry.batch.fill.config import Added, FillConfig, FillSummary, Shown
from facetry.batch.fill.plan import (
    ABSTAIN,
    FILLED,
    REFUSED,
    REPLACED,
    REVIEW,
    WRITTEN,
    Plan,
    Tally,
    cells_to_write,
    shown_confidence,
    shown_source,
)
from facetry.batch.fill.record import DECISIONS, UNDO, Fill, Record, fill_folder, read_record
from facetry.batch.fill.writers import format_of, note_on_format, open_writer, require_format
from facetry.batch.local import BatchConfig, predict_table
from facetry.batch.manifest import read_rows
from facetry.batch.outputs import OutputConfig
from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.scan import column_names, scan
from facetry.errors import FolderOccupied, InputChanged, NotEnoughData, SettingError
from facetry.predictions import Predictor
from facetry.runtime.files import sha256, writing
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import lock

_ACTIONS = {FILLED: "fill", REPLACED: "fill", REVIEW: "review", ABSTAIN: "abstain"}

PREDICTIONS = "predictions"
"""The folder, within that of the record, in which products are predicted."""


def fill_table(
    predictor: Predictor,
    catalogue: Catalogue,
    out: Path,
    config: FillConfig,
    *,
    reporter: Reporter = SILENT,
) -> FillSummary:
    """Write the catalogue's table to `out` with its blanks filled in, and a record of it beside it.

    If it was stopped, the same call goes on where it stopped. What a person has changed in `out` since
    it was written stays. `out` may be the table itself.

    Raises:
        SettingError: columns or a name of `out` that do not fit the table.
        FolderOccupied: `out` exists and no fill has written it.
        InputChanged: the table has changed, and so has what an earlier fill made of it.
        FolderError, WriteFailed, PredictorMismatch, CatalogueError, Stopped: as in `predict_table`.
    """
    require_format(catalogue.source.table, out)
    out = _target(out)
    catalogue.require_sound()
    with lock(fill_folder(out)):
        work = _Work.begin(catalogue, out, config)
        plan = Plan(cells=work.cells, config=config)
        num_products, problems = work.predict(predictor, plan, reporter)
        if config.replaces_known:
            _say_what_is_replaced(plan, work.predicted(plan), reporter)
        tally = work.write(plan, work.predicted(plan))
    return FillSummary(
        out=out,
        columns=tally.summaries(),
        num_corrected=tally.num_corrected,
        num_products=num_products,
        problems=problems,
        notes=list(filter(None, [work.note_on_earlier(tally), note_on_format(catalogue.source.table)])),
    )


def _say_what_is_replaced(plan: Plan, predicted: Iterator[pl.DataFrame], reporter: Reporter) -> None:
    """Count the known values that are going to be replaced, before any is."""
    tally = Tally(plan.cells.columns)
    for outcomes in plan.outcomes(predicted, lambda _, __: True):
        tally.add(outcomes)
    counts = {each.column: each.num_replaced for each in tally.summaries() if each.num_replaced}
    shown = ", ".join(f"{column} {count:,}" for column, count in counts.items())
    reporter.say(f"{sum(counts.values()):,} known values are replaced{': ' + shown if shown else ''}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class FilledCopy:
    """A copy of a table to be filled in from predictions of all its products."""

    catalogue: Catalogue
    path: Path
    config: FillConfig

    @classmethod
    def of(cls, catalogue: Catalogue, folder: Path, config: FillConfig) -> "FilledCopy | None":
        """The copy in a folder, called `filled`; None if the table has no columns to fill.

        Raises:
            FolderOccupied, InputChanged: it could not be written, for the reasons of `fill_table`.
        """
        if not columns_to_fill(catalogue, config.only):
            return None
        path = folder / f"filled{format_of(catalogue.source.table)}"
        copy = cls(catalogue=catalogue, path=path, config=config)
        _Work.begin(catalogue, path, config)
        return copy

    def write(self, rows: Iterator[pl.DataFrame]) -> FillSummary:
        """Write it; the rows are those of a run over the whole table."""
        with lock(fill_folder(self.path)):
            work = _Work.begin(self.catalogue, self.path, self.config)
            tally = work.write(Plan(cells=work.cells, config=self.config), rows)
        return FillSummary(out=self.path, columns=tally.summaries(), num_corrected=tally.num_corrected)


def undo_fill(catalogue: Catalogue, out: Path) -> FillSummary:
    """Take back the cells of `out` that fills have written, but for those that a person has changed.

    Columns that fills have added are taken out.

    Raises:
        NotEnoughData: no fill has written the file.
    """
    out = _target(out)
    nothing = NotEnoughData(
        f"There is nothing to take back: no fill is recorded for {out}.",
        hint="Name the file that was filled: --out FILE.",
    )
    if not fill_folder(out).is_dir():
        raise nothing  # a lock would make the folder
    with lock(fill_folder(out)):
        record = read_record(out)
        if not record.fills:
            raise nothing
        base = _with_table(catalogue, out)
        names = column_names(scan(base.source))
        dropped = [each.name for each in record.added if each.name in names]
        cells = Cells(catalogue=base, columns=base.layout.labels, record=record)
        own = [part.filter(IS_OWN) for part in cells.parts()]
        tally = Tally(cells.columns)
        with writing(out) as draft:
            with closing(open_writer(base, draft, dropped=dropped)) as writer:
                for part in own:
                    writer.write(part.with_columns(written=None, confidence=None).select(*_AS_CELL))
                writer.finish()
            with record.extended(fill_folder(out)) as add_to_record:
                add_to_record(pl.concat(own).with_columns(filled=None, raw=None))
            last, before = record.fills[-1], sha256(out)
            fill = Fill(
                source=UNDO,
                table=last.table,
                before=before,
                after=sha256(draft),
                has_changed=last.has_changed or before != last.after,
            )
            record.save(fill_folder(out), fill)
    for part in own:
        tally.add(part.with_columns(outcome=pl.lit(FILLED), confidence="shown_confidence"))
    return FillSummary(out=out, columns=tally.summaries())


_AS_CELL = ("row", "id", "column", pl.col("written").alias("text"), "raw", "confidence")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """A fill of one file: the table to begin from, its cells, and the columns to add to it."""

    base: Catalogue
    cells: Cells
    out: Path
    table_sum: str
    base_sum: str
    config: FillConfig

    @classmethod
    def begin(cls, catalogue: Catalogue, out: Path, config: FillConfig) -> "_Work":
        """Find out where to begin: from the table, or from what an earlier fill made of it.

        Raises:
            FolderOccupied, InputChanged: as in `fill_table`.
        """
        table_sum = sha256(catalogue.source.table)
        base, record = _base(catalogue, out, table_sum)
        cells = Cells(catalogue=base, columns=columns_to_fill(base, config.only), record=record)
        is_table = base.source.table == catalogue.source.table
        work = cls(
            base=base,
            cells=cells,
            out=out,
            table_sum=table_sum,
            base_sum=table_sum if is_table else sha256(base.source.table),
            config=config,
        )
        work.require_free_names()
        return work

    @property
    def folder(self) -> Path:
        """The folder with the record."""
        return fill_folder(self.out)

    @property
    def added(self) -> list[Added]:
        """The columns beside others, those that earlier fills have added among them."""
        wanted = [
            Added(f"{column} {shown}", column, shown)
            for column in self.cells.columns
            for shown in get_args(Shown)
            if shown in self.config.shows
        ]
        earlier = [each for each in self.cells.record.added if each.name in self.names]
        return list(dict.fromkeys([*wanted, *earlier]))

    @property
    def names(self) -> list[str]:
        """The columns of the table to begin from."""
        return column_names(scan(self.base.source))

    def require_free_names(self) -> None:
        """Refuse to add a column that the table has.

        Raises:
            SettingError: it has one, and no fill has added it.
        """
        names, own = self.names, self.cells.record.added
        taken = [each.name for each in self.added if each.name in names and each not in own]
        if taken:
            raise SettingError(
                f"The table has a column {taken[0]!r} already.",
                hint="Rename it, or leave out the columns that a fill adds.",
            )

    def require_unchanged(self) -> None:
        """Refuse to go on if the table is not the one that was read.

        Raises:
            InputChanged: it has changed.
        """
        table = self.base.source.table
        if sha256(table) != self.base_sum:
            raise InputChanged(
                f"{table} changed while it was filled.",
                hint="Nothing was written. Run the same command again.",
            )

    def predict(self, predictor: Predictor, plan: Plan, reporter: Reporter) -> tuple[int, Counter[str]]:
        """Predict the products that have something to fill; their number, and the problems of some."""
        rows = plan.rows_to_predict
        if not rows.any():
            return 0, Counter()
        self.base.require_photos()
        summary = predict_table(
            predictor,
            replace(self.base, streamed_rows=rows),
            self.folder / PREDICTIONS,
            BatchConfig(model=self.config.model, outputs=OutputConfig(has_submission=False)),
            reporter=reporter,
        )
        return summary.num_products, summary.problems

    def note_on_earlier(self, tally: Tally) -> str:
        """What is to be said of cells that earlier fills wrote: this one's promise is not about them."""
        promises = {fill.promise for fill in self.cells.record.fills if fill.source != UNDO}
        if not tally.num_earlier or promises == {self.config.promise}:
            return ""
        return (
            f"{tally.num_earlier:,} cells that earlier fills wrote, under another promise or none, stay "
            "as they are; --undo takes them back."
        )

    def predicted(self, plan: Plan) -> Iterator[pl.DataFrame]:
        """What was predicted."""
        return read_rows(self.folder / PREDICTIONS) if plan.rows_to_predict.any() else iter(())

    def write(self, plan: Plan, predicted: Iterator[pl.DataFrame]) -> Tally:
        """Write the file and the record."""
        names, record = self.names, self.cells.record
        new = [each for each in self.added if each.name not in names]
        tally = Tally(self.cells.columns)
        before = sha256(self.out) if self.out.exists() else ""
        with writing(self.out) as draft:
            with (
                closing(open_writer(self.base, draft, added=self.added)) as writer,
                record.extended(self.folder) as add_to_record,
                record.extended(self.folder, DECISIONS) as add_decisions,
            ):
                for planned in plan.outcomes(predicted, writer.accepts):
                    cells = cells_to_write(planned, self.added, new, self.config.source)
                    outcomes = _with_raws(planned, cells, writer.write(cells))
                    tally.add(outcomes)
                    add_to_record(self._recorded(outcomes))
                    if self.config.promise:
                        add_decisions(_decided(outcomes))
                writer.finish()
            self.require_unchanged()
            fill = Fill(
                source=self.config.source,
                table=self.table_sum,
                before=before,
                after=sha256(draft),
                has_changed=self.base_sum != self.table_sum,
                added=tuple(self.added),
                when=datetime.now(UTC).isoformat(timespec="seconds"),
                promise=self.config.promise,
            )
            record.save(self.folder, fill)
        return tally

    def _recorded(self, outcomes: pl.DataFrame) -> pl.DataFrame:
        """The record of cells that were written; `raw` is what was there before any fill."""
        source = self.config.source
        return outcomes.filter(pl.col("outcome").is_in(WRITTEN)).select(
            pl.col("id").cast(pl.String),
            "column",
            filled="written",
            raw=pl.when(IS_OWN).then("raw").otherwise("before"),
            shown_confidence=shown_confidence(),
            shown_source=shown_source(source),
        )


def _decided(outcomes: pl.DataFrame) -> pl.DataFrame:
    """What was decided about the cells that were filled or left open, for the record."""
    cells = outcomes.filter(pl.col("outcome").is_in(list(_ACTIONS)) & pl.col("action").is_not_null())
    action = pl.col("outcome").replace_strict(_ACTIONS, return_dtype=pl.String)
    return cells.select(
        pl.col("id").cast(pl.String),
        "category",
        "attribute",
        "value",
        old="own",
        confidence="confidence",
        action=action,
    )


def _with_raws(outcomes: pl.DataFrame, cells: pl.DataFrame, raws: Sequence[str | None]) -> pl.DataFrame:
    """The outcomes with what was in each cell `before`; what the writer left alone is refused."""
    found = cells.select("row", "column").with_columns(before=pl.Series(raws, dtype=pl.String))
    joined = outcomes.join(found, on=["row", "column"], how="left", maintain_order="left")
    is_left = pl.col("outcome").is_in(WRITTEN) & pl.col("before").is_null()
    return joined.with_columns(
        outcome=pl.when(is_left).then(pl.lit(REFUSED)).otherwise(pl.col("outcome"))
    )


def _target(out: Path) -> Path:
    """The file to write: that to which a symbolic link leads, so that the link stays."""
    return out.resolve() if out.is_symlink() else out


def _base(catalogue: Catalogue, out: Path, table_sum: str) -> tuple[Catalogue, Record]:
    """The table to begin from and its record.

    That is the catalogue's; or `out` as an earlier fill of the same table has made it, if a person
    has changed it since, or had before that fill.
    """
    table = catalogue.source.table
    if not out.exists() or out.resolve() == table.resolve():
        return catalogue, read_record(table)
    record = read_record(out)
    if not record.fills and _is_being_renewed(record, out):
        return catalogue, read_record(table)
    if not record.fills:
        raise FolderOccupied(
            f"{out} exists and was not made by `facetry fill`.",
            hint="Choose another --out, or fill it itself: name it as the table, too.",
        )
    last = record.fills[-1]
    if last.after == sha256(out) and not last.has_changed:
        return catalogue, read_record(table)
    if last.table == table_sum:
        return _with_table(catalogue, out), record
    raise InputChanged(
        f"{table} has changed since {out} was filled, and so has {out}.",
        hint=f"Choose another --out; or name {out} as the table to fill what is blank in it.",
    )


def _is_being_renewed(record: Record, out: Path) -> bool:
    """Whether a fill was stopped just before it replaced what an earlier one had made of the table.

    A file that is its own table is not meant: it is the shop's.
    """
    stopped = record.abandoned
    return stopped is not None and stopped.table != stopped.before == sha256(out)


def _with_table(catalogue: Catalogue, table: Path) -> Catalogue:
    """The same catalogue with another file as its table."""
    source = catalogue.source.model_copy(update={"table": table})
    return assemble(source, catalogue.given, is_closed=catalogue.is_closed)
