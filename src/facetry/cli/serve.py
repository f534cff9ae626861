"""`facetry serve`: predictions over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from facetry.cli.options import Dtype, Engine, Threads, engine_config

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...", help="Model folders, as FOLDER or NAME=FOLDER; the first is the default."
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on; keys are needed unless it is loopback.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
Data = Annotated[
    Path, typer.Option(envvar="FACETRY_DATA", help="Folder of jobs and of the SQLite database.")
]
DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="FACETRY_DATABASE",
        metavar="URL",
        help="postgresql://USER:PASSWORD@HOST/NAME, in place of SQLite.",
        show_default=False,
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Also say what to do with each value, at this precision."),
]
ImagesRoot = Annotated[
    Path | None, typer.Option(help="Folder below which jobs may name a photo folder.")
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name under which it is reached; may be repeated."),
]
RequireKeys = Annotated[bool, typer.Option("--require-keys", help="Ask for keys on loopback, too.")]
MaxBatch = Annotated[int, typer.Option(min=1, help="Photos that are computed at once.")]
MaxWait = Annotated[
    float, typer.Option(min=0, help="How long a photo waits for others, in milliseconds.")
]
QueuePhotos = Annotated[
    int, typer.Option(min=1, help="Photos in work at once; more are answered with 503.")
]
Decoders = Annotated[
    int | None, typer.Option(min=1, help="Threads that decode photos; default: one for each core.")
]
PhotosPerMinute = Annotated[
    int | None, typer.Option(min=1, help="Photos that each key may send a minute.")
]
Deadline = Annotated[float, typer.Option(min=0.1, help="Seconds until an answer is given up.")]
KeepDays = Annotated[
    float, typer.Option(min=0.001, help="Days for which a job's photos and results are kept.")
]
JobWorkers = Annotated[int, typer.Option(min=0, help="Jobs worked off at once; 0: they are only taken.")]


def serve(
    models: Models,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = Path("facetry-data"),
    database: DatabaseUrl = "",
    precision: Precision = None,
    images_root: ImagesRoot = None,
    allowed_host: AllowedHosts = None,
    require_keys: RequireKeys = False,
    max_batch: MaxBatch = 32,
    max_wait_ms: MaxWait = 5.0,
    queue_photos: QueuePhotos = 256,
    decoders: Decoders = None,
    photos_per_minute: PhotosPerMinute = None,
    deadline_s: Deadline = 30.0,
    keep_days: KeepDays = 7.0,
    job_workers: JobWorkers = 1,
    engine: Engine = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Serve models over HTTP: /v1/predict, jobs for whole tables, /v2, health and metrics.

    On loopback it needs no keys; elsewhere make some with `facetry keys create`. SIGHUP, or POST
    /v1/models/NAME/reload, serves the newer version in a model's folder without a dropped request.
    SIGTERM takes no new work and finishes what is in work. The description of all paths is at
    /v1/openapi.json.
    """
    from facetry.cli.console import make_reporter
    from facetry.runtime.extras import require
    from facetry.runtime.memory import release_polars_memory_at_once

    require("`facetry serve`", "fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client")
    release_polars_memory_at_once()
    from facetry.review.pages import ReviewPages
    from facetry.service.config import Batching, Limits, ServiceConfig
    from facetry.service.server import run

    batching = {"max_batch": max_batch, "max_wait_ms": max_wait_ms, "queue_photos": queue_photos}
    if decoders is not None:
        batching["num_decoders"] = decoders
    config = ServiceConfig(
        models=_named(models),
        host=host,
        port=port,
        allowed_hosts=tuple(allowed_host or ()),
        data=data.absolute(),
        database=database,
        images_root=images_root.absolute() if images_root else None,
        requires_keys=require_keys,
        precision=precision,
        engine=engine_config(engine, dtype, threads),
        limits=Limits(deadline_s=deadline_s),
        batching=Batching.model_validate(batching),
        photos_per_minute=photos_per_minute,
        keep_days=keep_days,
        num_job_workers=job_workers,
    )
    run(config, make_reporter(), ReviewPages())


def _named(words: list[str]) -> dict[str, Path]:
    """The model folders by name: the one before `=`, or the folder's own.

    Raises:
        SettingError: two of one name, or a name that cannot stand in a path.
    """
    from facetry.errors import SettingError

    models: dict[str, Path] = {}
    for word in words:
        given, separator, folder = word.partition("=")
        path = Path(folder if separator else word).absolute()
        name = given if separator else path.name
        if not name or not all(letter.isalnum() or letter in "._-" for letter in name):
            raise SettingError(
                f"A model cannot be called {name!r}.",
                hint="Use letters, digits, dots, dashes and underscores: NAME=FOLDER.",
            )
        if name in models:
            raise SettingError(f"Two models are called {name!r}.", hint="Name them: NAME=FOLDER.")
        models[name] = path
    return models
