"""`facetry review`: people decide the cells of a catalogue, in a browser."""

from pathlib import Path
from typing import Annotated

import typer

from facetry.cli.options import (
    CatalogueArgument,
    Dtype,
    Engine,
    Images,
    ModelArgument,
    Threads,
    engine_config,
)


def review(
    model: ModelArgument,
    catalogue: CatalogueArgument,
    images: Images = None,
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Ask only about cells that the model cannot fill at this precision."
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="An audit: also ask about labels that it found wrong."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 0,
    data: Annotated[
        Path,
        typer.Option(envvar="FACETRY_DATA", help="Folder of the decisions: the same one goes on."),
    ] = Path("facetry-data"),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only say where the page is.")
    ] = False,
    engine: Engine = "auto",
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Predict a catalogue and have people decide the cells that need one, on pages in the browser.

    It listens on this machine only. Decisions are kept in --data; the same command goes on.
    """
    from facetry.cli.console import make_reporter
    from facetry.runtime.extras import require

    require("`facetry review`", "fastapi", "uvicorn", "sqlalchemy", "alembic", "prometheus_client")
    from facetry.review.pages import ReviewPages
    from facetry.service.config import ServiceConfig
    from facetry.service.server import run

    reporter = make_reporter()
    config = ServiceConfig(
        models={model.absolute().name: model.absolute()},
        port=port,
        data=data.absolute(),
        precision=precision,
        engine=engine_config(engine, dtype, threads),
    )
    show = (lambda _: None) if no_browser else _open_browser
    run(
        config,
        reporter,
        ReviewPages(catalogue, images=images, audit=audit, show=show, reporter=reporter),
    )


def _open_browser(address: str) -> None:
    """Open the page, if there is a browser to open it in."""
    import webbrowser

    webbrowser.open(address)
