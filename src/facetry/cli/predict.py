"""`facetry predict`: predict the attributes of every product of a catalogue, or of photos alone."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from facetry.cli.options import (
    Compile,
    Dtype,
    Engine,
    GpusPerWorker,
    Images,
    ModelArgument,
    On,
    Promised,
    Safe,
    Simultaneous,
    Threads,
    Workers,
    engine_config,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from facetry.batch.fill.config import FillConfig
    from facetry.batch.local import BatchSummary
    from facetry.catalogue.catalogue import Catalogue
    from facetry.confidence.promises import Promises
    from facetry.models.folder import ModelFolder
    from facetry.predictions import Predictor


def predict(
    model: ModelArgument,
    catalogue: Annotated[
        Path,
        typer.Argument(
            help="Catalogue: its folder, catalogue.yaml or table; or a photo or a folder of photos."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write, or to resume; photos alone need none."),
    ] = None,
    images: Images = None,
    category: Annotated[
        str | None,
        typer.Option(help="Category of photos without a table; else that of the folders they are in."),
    ] = None,
    table_format: Annotated[
        Literal["parquet", "csv"], typer.Option("--format", help="Format of the long table.")
    ] = "parquet",
    fill: Annotated[
        str, typer.Option(help="What the submission holds for attributes that a category does not have.")
    ] = "dummy_value",
    submission: Annotated[
        bool, typer.Option("--submission", help="Write submission.csv for any table.")
    ] = False,
    precision: Promised = None,
    simultaneous: Simultaneous = False,
    safe: Safe = False,
    engine: Engine = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
    compile_: Compile = False,
    on: On = None,
    workers: Workers = None,
    gpus_per_worker: GpusPerWorker = 0,
    shard_rows: Annotated[int, typer.Option(min=1, hidden=True, help="Rows in a part.")] = 10_000,
) -> None:
    """Predict every product of a catalogue: predictions, problems.csv and the table itself, filled in.

    A table in the challenge's form also gets a submission.csv. It has rare values more often than the
    predictions where the challenge's score, in training, was higher with them.

    A photo, or a folder of photos without a table, is answered on the terminal if no --out is given.

    If it was stopped, the same command resumes after the last part of 10,000 rows. Run again, it
    predicts only rows that are new or whose text, category or photos have changed. SIGTERM stops it
    with exit code 0 and all finished parts saved. All this holds with --on, too: the predictions are
    the same, and a run that was begun here goes on there. A worker has --threads CPUs, by default one.
    """
    from facetry.runtime.memory import release_polars_memory_at_once

    release_polars_memory_at_once()
    from facetry.batch.fill.run import FilledCopy
    from facetry.batch.local import BatchConfig, predict_on
    from facetry.batch.manifest import read_rows
    from facetry.batch.outputs import OutputConfig
    from facetry.build.promising import load_promising
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.promises import promises_for
    from facetry.cli.runners import open_runner, ray_config
    from facetry.errors import SettingError
    from facetry.models.folder import open_folder

    console, reporter = make_console(), make_reporter()
    cluster = ray_config(on, workers, gpus_per_worker, threads)
    if cluster and out is None:
        raise SettingError("--on needs a folder for the predictions.", hint="Name one with --out.")
    folder = open_folder(model)
    with _opened(folder, catalogue, images, category, out) as opened:
        promises = promises_for(console, folder, precision, is_simultaneous=simultaneous)
        num_threads = cluster.resources.num_cpus if cluster else threads
        engine_options = engine_config(engine, dtype, num_threads, compile_)
        if out is None:
            loaded = load_promising(folder, engine_options, promises, reporter)
            _show_answers(console, opened, loaded.predictor, has_decisions=promises is not None)
            return
        outputs = OutputConfig(
            table_format=table_format,
            fill=fill,
            has_submission=submission or opened.has_challenge_form,
            is_safe=safe,
            has_decisions=promises is not None,
        )
        place = opened.source.images, cluster, reporter
        with open_runner(folder, engine_options, promises, *place) as (runner, fingerprint):
            config = BatchConfig(model=fingerprint, outputs=outputs, shard_rows=shard_rows)
            filled = FilledCopy.of(opened, out, _filling(folder, fingerprint, promises))
            summary = predict_on(runner, opened, out, config, reporter=reporter)
        _show(console, summary)
        if filled:
            filled.write(read_rows(out))
    names = {
        f"predictions.{table_format}": True,
        "submission.csv": outputs.has_submission,
        "problems.csv": True,
        filled.path.name if filled else "": filled is not None,
    }
    console.print(f"Written to {out}: {', '.join(name for name in names if names[name])}")


def _filling(folder: "ModelFolder", fingerprint: str, promises: "Promises | None") -> "FillConfig":
    """How the copy of the table is filled in."""
    from facetry.batch.fill.config import FillConfig
    from facetry.cli.fill import source_of
    from facetry.confidence.fill_audit import Promised

    return FillConfig(
        model=fingerprint,
        source=source_of(folder),
        promise=Promised.of(folder, promises) if promises else None,
        shows=("action", "confidence", "alternatives") if promises else (),
    )


@contextmanager
def _opened(
    folder: "ModelFolder", catalogue: Path, images: Path | None, category: str | None, out: Path | None
) -> "Iterator[Catalogue]":
    """The catalogue to predict, or that of photos without a table."""
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.catalogue.photo_folder import holds_photos, open_photos
    from facetry.errors import SettingError

    if holds_photos(catalogue):
        with open_photos(catalogue, category, folder.taxonomy) as opened:
            yield opened
        return
    if category is not None:
        raise SettingError("--category is for photos without a table.", hint="A table has categories.")
    if out is None:
        raise SettingError("No folder is named for the predictions.", hint="Name one with --out.")
    opened = open_catalogue(catalogue, images=images, taxonomy=folder.taxonomy)
    opened.require_sound()  # before the engine is converted, which may take a minute
    opened.require_photos()
    yield opened


def _show_answers(
    console: "Console", opened: "Catalogue", predictor: "Predictor", *, has_decisions: bool
) -> None:
    """Print each photo's predictions, and why others have none."""
    import polars as pl
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from facetry.batch.shard import cut, score_shard
    from facetry.predictions import to_long, to_problems

    rows = pl.concat(score_shard(shard, predictor).rows for shard in cut(opened))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("photo", "category", "attribute", "value"):
        table.add_column(name, overflow="fold")
    table.add_column("confidence", justify="right")
    if has_decisions:
        table.add_column("action")
        table.add_column("alternatives", overflow="fold")
    shown = ""
    for each in to_long(rows, has_decisions=True).iter_rows(named=True):
        names = (each["id"], each["category"]) if each["id"] != shown else ("", "")
        texts = [*names, each["attribute"], each["value"]]
        action = ": ".join(filter(None, (each["action"], each["reason"])))
        decided = [action, ", ".join(each["alternatives"])] if has_decisions else []
        table.add_row(*map(Text, texts), f"{each['confidence']:.0%}", *map(Text, decided))
        shown = each["id"]
    console.print(table)
    for id_, _, problem in to_problems(rows).iter_rows():
        console.print(f"{id_}: {problem}")


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
