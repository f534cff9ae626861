"""`facetry train`: build a predictor from a recipe."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    catalogue: Annotated[
        Path, typer.Option("--catalogue", "-c", help="Challenge folder, table or catalogue.yaml.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")],
    images: Annotated[Path | None, typer.Option(help="Photo folder, if not beside the table.")] = None,
    split: Annotated[
        Path | None, typer.Option(help="A saved split (columns id and part) to use.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; may be repeated."),
    ] = None,
) -> None:
    """Train a predictor. Stopped in between, the same command goes on where it stopped."""
    from facetry.build import train as build
    from facetry.catalogue.catalogue import open_catalogue
    from facetry.cli.console import make_console, make_reporter
    from facetry.cli.show import show_metrics
    from facetry.recipe import load_recipe

    console = make_console()
    opened = open_catalogue(catalogue, images=images)
    opened.require_photos()
    try:
        folder = build(
            load_recipe(recipe, set_ or ()),
            opened,
            out,
            split=split,
            reporter=make_reporter(),
        )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where it stopped.")
        raise
    show_metrics(console, folder)
    console.print(f"Model folder: {folder}")
