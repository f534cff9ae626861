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
    repairs: Annotated[
        Path | None, typer.Option(help="Repair file: corrections of labels to apply.")
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="A saved split or folds to use, as `facetry split` writes.")
    ] = None,
    fold: Annotated[int | None, typer.Option(min=0, help="Of saved folds, the one to test on.")] = None,
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
    from facetry.cli.split import given_split
    from facetry.recipe import load_recipe

    console = make_console()
    opened = open_catalogue(catalogue, images=images, repairs=repairs)
    opened.require_photos()
    if line := opened.repairs.describe():
        console.print(line)
    try:
        folder = build(
            load_recipe(recipe, set_ or ()),
            opened,
            out,
            split=given_split(split, fold, opened),
            reporter=make_reporter(),
        )
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where it stopped.")
        raise
    show_metrics(console, folder)
    console.print(f"Model folder: {folder}")
