"""`facetry predict`: predict the attributes of every product of a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facetry.cli.options import (
    CatalogueArgument,
    Compile,
    Engine,
    Images,
    ModelArgument,
    Precision,
    Threads,
    engine_config,
)

if TYPE_CHECKING:
    from rich.console import Console

    from facetry.batch.local import BatchSummary


def predict(
    model: ModelArgument,
    catalogue: CatalogueArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, or to resume.")],
    images: Images = None,
    table_format: Annotated[
        Literal["parquet", "csv"], typer.Option("--format", help="Format of the long table.")
    ] = "parquet",
    fill: Annotated[
        str, typer.Option(help="What the submission holds for attributes that a category does not have.")
    ] = "dummy_value",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    compile_: Compile = False,
    shard_rows: Annotated[int, typer.Option(min=1, hidden=True, help="Rows in a part.")] = 10_000,
) -> None:
    """Predict every product of a catalogue: predictions, submission.csv and problems.csv.

    If it was stopped, the same command resumes after the last part of 10,000 rows. Run again, it
    predicts only rows that are new or whose text, category or photos have changed. SIGTERM stops it
    with exit code 0 and all finished parts saved.
    """
    from facetry.runtime.memory import release_polars_memory_at_once

    release_polars_memory_at_once()
    from facetry.batch.local import BatchConfig, predict_table
    from facetry.batch.snapshot import precisions_of
    from facetry.build.load import load
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.models.folder import open_folder

    console, reporter = make_console(), make_reporter()
    folder = open_folder(model)
    predictor = load(folder, engine_config(engine, precision, threads, compile_), reporter=reporter)
    opened = open_catalogue(catalogue, images=images, taxonomy=predictor.taxonomy)
    opened.require_photos()
    config = BatchConfig(
        model=folder.fingerprint_with(*precisions_of(predictor)),
        table_format=table_format,
        fill=fill,
        shard_rows=shard_rows,
    )
    summary = predict_table(predictor, opened, out, config, reporter=reporter)
    _show(console, summary)
    console.print(f"Written to {out}: predictions.{table_format}, submission.csv, problems.csv")


def _show(console: "Console", summary: "BatchSummary") -> None:
    """How many products were predicted and why others were not, and what this call did for it."""
    console.print(f"{summary.num_predicted:,} products predicted, {summary.problems.total():,} not.")
    for problem, count in summary.problems.most_common():
        console.print(f"  {count:>8,}  {problem}")
    rate = (summary.num_new + summary.num_reused) / summary.seconds
    done = f"{summary.num_new:,} rows scored now"
    if summary.num_reused:
        done += f", {summary.num_reused:,} unchanged rows reused"
    if summary.num_done_before:
        done += f", {summary.num_done_before:,} already done"
    console.print(f"{done}; {summary.seconds:,.1f} s, {rate:,.1f} rows/s.")
