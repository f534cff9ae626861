"""`facetry fill`: a shop's own file with its blanks filled in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from facetry.cli.options import (
    CatalogueArgument,
    Dtype,
    Engine,
    Images,
    ModelArgument,
    Promised,
    Repairs,
    Simultaneous,
    Threads,
    engine_config,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from facetry.batch.fill.config import FillSummary, Shown
    from facetry.models.folder import ModelFolder


def fill(
    model: ModelArgument,
    catalogue: CatalogueArgument,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="File to write, of the table's format; may be the table."),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Fill this column or attribute; may be repeated."),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also replace known values where the model says another.")
    ] = False,
    precision: Promised = None,
    simultaneous: Simultaneous = False,
    only_values: Annotated[
        bool,
        typer.Option(
            "--only-values", help="With --precision: add no columns of action, confidence, alternatives."
        ),
    ] = False,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Leave a cell blank if the model is less sure.")
    ] = 0.0,
    with_confidence: Annotated[
        bool, typer.Option("--with-confidence", help="Add a column of confidences for each attribute.")
    ] = False,
    with_source: Annotated[
        bool,
        typer.Option("--with-source", help="Add a column for each attribute: seller, model or repair."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back what was filled in --out and not changed since.")
    ] = False,
    images: Images = None,
    repairs: Repairs = None,
    engine: Engine = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Write the catalogue's own table with its blanks filled in: same columns, order and format.

    With --precision only those are filled that are right so often, by promise; the others say in
    columns beside them what a person may choose from.

    Nothing else in the file is touched. What a person has changed in it since it was filled stays as it
    is. If it was stopped, the same command resumes.
    """
    from facetry.runtime.memory import release_polars_memory_at_once

    release_polars_memory_at_once()
    from facetry.batch.fill.config import FillConfig
    from facetry.batch.fill.run import fill_table, undo_fill
    from facetry.batch.fill.writers import require_format
    from facetry.build.promising import load_promising
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.promises import promises_for
    from facetry.confidence.fill_audit import Promised
    from facetry.errors import SettingError
    from facetry.models.folder import open_folder

    if only_values and precision is None:
        raise SettingError(
            "--only-values leaves out the columns of --precision.", hint="Name one: --precision 0.95"
        )
    console, reporter = make_console(), make_reporter()
    folder = open_folder(model)
    opened = open_catalogue(catalogue, images=images, repairs=repairs, taxonomy=folder.taxonomy)
    require_format(opened.source.table, out)
    if undo:
        _show(console, undo_fill(opened, out), is_undo=True)
        return
    opened.require_sound()  # before the engine is converted, which may take a minute
    opened.require_photos()
    promises = promises_for(console, folder, precision, is_simultaneous=simultaneous)
    loaded = load_promising(folder, engine_config(engine, dtype, threads), promises, reporter)
    is_shown = promises is not None and not only_values
    config = FillConfig(
        model=loaded.fingerprint,
        source=source_of(folder),
        only=tuple(only or ()),
        replaces_known=all_,
        min_confidence=min_confidence,
        promise=Promised.of(folder, promises) if promises else None,
        shows=_shown(
            action=is_shown,
            confidence=with_confidence or is_shown,
            alternatives=is_shown,
            source=with_source,
        ),
    )
    _show(console, fill_table(loaded.predictor, opened, out, config, reporter=reporter))


def _shown(**is_wanted: bool) -> "tuple[Shown, ...]":
    from facetry.batch.fill.config import Shown

    return tuple(each for each in get_args(Shown) if is_wanted[each])


def source_of(folder: "ModelFolder") -> str:
    """What the column for sources calls a model: its folder's name and when it was made."""
    from datetime import UTC, datetime

    from facetry.models.folder import CHECKSUMS

    made = datetime.fromtimestamp((folder.path / CHECKSUMS).stat().st_mtime, UTC)
    return f"model {folder.path.resolve().name} {made:%Y-%m-%d}"


def _show(console: "Console", summary: "FillSummary", *, is_undo: bool = False) -> None:
    """What was done in each column, which products were not predicted, and where the file is."""
    done = "taken back" if is_undo else "filled"
    if summary.num_written:
        console.print(_table(summary, done))
    if summary.num_corrected:
        console.print(f"{summary.num_corrected:,} cells that were changed since they were filled: kept.")
    if summary.problems:
        total = summary.problems.total()
        products = "product" if total == 1 else "products"
        console.print(f"{total:,} {products} could not be predicted:")
        for problem, count in summary.problems.most_common():
            console.print(f"  {count:>8,}  {problem}")
    for note in summary.notes:
        console.print(note)
    console.print(f"{summary.num_written:,} cells {done} in {summary.out}")


def _table(summary: "FillSummary", done: str) -> "Table":
    from rich import box
    from rich.table import Table

    columns = {
        done: lambda each: each.num_filled,
        "replaced": lambda each: each.num_replaced,
        "repaired": lambda each: each.num_repaired,
        "to review": lambda each: each.num_review,
        "abstained": lambda each: each.num_abstain,
        "below": lambda each: each.num_below,
        "not predicted": lambda each: each.num_unpredicted,
        "cannot be held": lambda each: each.num_refused,
    }
    shown = [name for name in columns if name == done or any(map(columns[name], summary.columns))]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("column")
    for name in (*shown, "confidence"):
        table.add_column(name, justify="right")
    for each in summary.columns:
        mean = each.mean_confidence
        counts = (f"{columns[name](each):,}" for name in shown)
        table.add_row(each.column, *counts, "" if mean is None else f"{mean:.2f}")
    return table
